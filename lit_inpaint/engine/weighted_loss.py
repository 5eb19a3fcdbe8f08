"""Loss terms times their weights: held against each other by name, added up, noted for the log."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, cast

from torch import Tensor

from lit_inpaint.settings import Player
from lit_inpaint.types import Terms


class LossWeighter:
    """Weighs the terms of both players of one paper.

    Args:
        paper: its name, for messages.
        weights: its dataclass of weights.
    """

    def __init__(self, paper: str, weights: object) -> None:
        self.paper = paper
        self.names = [field.name for field in dataclasses.fields(cast(Any, weights))]
        self._said: dict[str, Player] = {}
        self._complete = False

    def total(self, player: Player, terms: Terms, weights: Mapping[str, float], share: float, log: dict[str, Tensor]) -> Tensor:
        """Weighted sum of a player's terms over one part of a batch, times the part's share of the batch.

        Args:
            player: whose terms.
            terms: scalars, or functions that give one and are called only where their weight is not 0.
            weights: of all terms.
            share: in (0, 1].
            log: gets the unweighted terms and, under the player's name, their weighted sum; parts of a batch add up there.

        Raises:
            ValueError: a term has no weight, or its name is the other player's too, or there is nothing to add up.
        """
        if unknown := [name for name in terms if name not in self.names]:
            raise ValueError(f"{self.paper} has no weight for {_list(unknown)}; its weights are {_list(self.names)}")
        if twice := [name for name in terms if self._said.setdefault(name, player) != player]:
            raise ValueError(f"both players of {self.paper} call a term {_list(twice)}; name them apart")
        values = {
            name: term() if callable(term) else term for name, term in terms.items() if weights[name] or not callable(term)
        }
        if not values:
            raise ValueError(f"{self.paper}'s {player} has nothing to learn from: its losses are empty, or all weigh 0")
        weighted = [weights[name] * value for name, value in values.items()]
        total: Tensor = sum(weighted[1:], weighted[0])
        if share != 1:
            total = share * total
        for name, value in {**{name: share * value.detach() for name, value in values.items()}, player: total.detach()}.items():
            log[name] = log[name] + value if name in log else value
        return total

    def check_complete(self, players: Collection[Player]) -> None:
        """Once all of `players` have said their terms: a weight without a term is a mistake too.

        Raises:
            ValueError: naming the weights and the terms.
        """
        if self._complete or not set(players) <= set(self._said.values()):
            return
        self._complete = True
        if idle := [name for name in self.names if name not in self._said]:
            raise ValueError(f"{self.paper} weighs {_list(idle)}, but its losses give only {_list(self._said)}")


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
