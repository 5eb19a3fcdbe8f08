"""Weigh and add up loss terms, check their names against the weights, and log them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, cast

from torch import Tensor

from lit_inpaint.settings import Player
from lit_inpaint.types import Terms


class LossWeighter:
    """Weigh the loss terms of both players of one paper.

    Args:
        paper: name of the paper, for messages.
        weights: the paper's dataclass of weights.
    """

    def __init__(self, paper: str, weights: object) -> None:
        self.paper = paper
        self.names = [field.name for field in dataclasses.fields(cast(Any, weights))]
        self._player_of_term: dict[str, Player] = {}
        self._checked = False

    def total(
        self, player: Player, terms: Terms, weights: Mapping[str, float], fraction: float, log: dict[str, Tensor]
    ) -> Tensor:
        """Return the weighted sum of a player's terms over a micro-batch, times its fraction of the batch.

        Args:
            player: of the terms.
            terms: scalars, or functions that return one and are called only if their weight is not 0; None: not in this stage.
            weights: of all terms.
            fraction: of the batch, in (0, 1].
            log: receives the unweighted terms and, under the player's name, the total; micro-batches add up in it.

        Raises:
            ValueError: a term has no weight, both players have a term of this name, or there is nothing to add up.
        """
        if unknown := [name for name in terms if name not in self.names]:
            raise ValueError(f"{self.paper} has no weight for {_list(unknown)}; its weights are {_list(self.names)}")
        if twice := [name for name in terms if self._player_of_term.setdefault(name, player) != player]:
            raise ValueError(f"both players of {self.paper} call a term {_list(twice)}; name them apart")
        values = {
            name: term() if callable(term) else term
            for name, term in terms.items()
            if term is not None and (weights[name] or not callable(term))
        }
        if not values:
            raise ValueError(f"{self.paper}'s {player} has nothing to learn from: its losses are empty, or all weigh 0")
        weighted = [weights[name] * value for name, value in values.items()]
        total: Tensor = sum(weighted[1:], weighted[0])
        if fraction != 1:
            total = fraction * total
        logged = {**{name: fraction * value.detach() for name, value in values.items()}, player: total.detach()}
        for name, value in logged.items():
            log[name] = log[name] + value if name in log else value
        return total

    def check_unused_weights(self, players: Collection[Player]) -> None:
        """Find weights without a term, once each of `players` has returned its terms.

        Raises:
            ValueError: naming the weights and the terms.
        """
        if self._checked or not set(players) <= set(self._player_of_term.values()):
            return
        self._checked = True
        if unused := [name for name in self.names if name not in self._player_of_term]:
            raise ValueError(f"{self.paper} weighs {_list(unused)}, but its losses give only {_list(self._player_of_term)}")


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
