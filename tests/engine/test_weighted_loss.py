"""Weighted sum of the loss terms: which terms are computed and logged, and names without a counterpart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_inpaint.engine.weighted_loss import LossWeighter
from lit_inpaint.types import Terms

WEIGHTS = {"l1": 3.0, "style": 0.5, "real": 2.0}


@dataclass(frozen=True)
class Weights:
    l1: float = 3.0
    style: float = 0.5
    real: float = 2.0


def scalar(value: float) -> Tensor:
    return torch.tensor(value, requires_grad=True)


def never() -> Tensor:
    raise AssertionError("a term of weight 0 was computed")


def total(player: Any, terms: Terms, fraction: float = 1.0, **weights: float) -> tuple[Tensor, dict[str, Tensor]]:
    log: dict[str, Tensor] = {}
    return LossWeighter("Paper", Weights()).total(player, terms, WEIGHTS | weights, fraction, log), log


def test_the_weighted_sum_and_the_unweighted_terms() -> None:
    l1 = scalar(2.0)
    loss, log = total("generator", {"l1": l1, "style": lambda: scalar(4.0)})
    assert log == {"l1": 2.0, "style": 4.0, "generator": 8.0}
    assert not any(value.requires_grad for value in log.values())
    loss.backward()
    assert l1.grad == 3.0


def test_a_function_of_weight_0_is_neither_called_nor_logged() -> None:
    assert total("generator", {"l1": scalar(2.0), "style": never}, style=0.0)[1] == {"l1": 2.0, "generator": 6.0}


def test_a_term_of_another_stage_is_neither_added_nor_logged() -> None:
    loss, log = total("generator", {"l1": scalar(2.0), "style": None})
    assert float(loss) == 6
    assert log.keys() == {"l1", "generator"}
    with pytest.raises(ValueError, match="has nothing to learn from"):
        total("generator", {"l1": None, "style": None})


def test_a_computed_term_of_weight_0_is_logged() -> None:
    """It is there anyway."""
    assert total("generator", {"l1": scalar(2.0), "style": scalar(9.0)}, style=0.0)[1] == {
        "l1": 2.0,
        "style": 9.0,
        "generator": 6.0,
    }


def test_micro_batches_add_up_in_the_log() -> None:
    weighter, log = LossWeighter("Paper", Weights()), dict[str, Tensor]()
    for fraction, value in ((0.25, 4.0), (0.75, 8.0)):
        loss = weighter.total("generator", {"l1": scalar(value), "style": scalar(0.0)}, WEIGHTS, fraction, log)
    assert loss == 0.75 * 24
    assert log == {"l1": 7.0, "style": 0.0, "generator": 21.0}


@pytest.mark.parametrize(
    ("terms", "weights"), [({}, {}), ({"style": never}, {"style": 0.0}), ({"l1": never, "style": never}, {"l1": 0, "style": 0})]
)
def test_nothing_to_learn_from_is_an_error(terms: Terms, weights: dict[str, float]) -> None:
    message = "Paper's generator has nothing to learn from: its losses are empty, or all weigh 0"
    with pytest.raises(ValueError, match=message):
        total("generator", terms, **weights)


def test_a_term_without_a_weight_is_an_error() -> None:
    with pytest.raises(ValueError, match="Paper has no weight for perceptual, ssim; its weights are l1, real, style"):
        total("generator", {"ssim": never, "l1": scalar(1.0), "perceptual": never})


def test_one_name_for_both_players_is_an_error() -> None:
    weighter = LossWeighter("Paper", Weights())
    for _ in range(2):  # repeated by the same player is no error
        weighter.total("generator", {"l1": scalar(1.0), "real": scalar(1.0)}, WEIGHTS, 1.0, {})
    with pytest.raises(ValueError, match="both players of Paper call a term l1, real; name them apart"):
        weighter.total("discriminator", {"real": scalar(1.0), "l1": scalar(1.0)}, WEIGHTS, 1.0, {})


def test_unused_weights_are_found_once_all_terms_are_known() -> None:
    weighter = LossWeighter("Paper", Weights())
    weighter.total("generator", {"l1": scalar(1.0)}, WEIGHTS, 1.0, {})
    weighter.check_unused_weights(("generator", "discriminator"))
    weighter.total("discriminator", {"real": scalar(1.0)}, WEIGHTS, 1.0, {})
    with pytest.raises(ValueError, match=r"Paper weighs style, but its losses give only l1, real$"):
        weighter.check_unused_weights(("generator", "discriminator"))


def test_a_term_that_is_not_computed_is_known() -> None:
    weighter = LossWeighter("Paper", Weights())
    weighter.total("generator", {"l1": scalar(1.0), "style": never}, WEIGHTS | {"style": 0.0}, 1.0, {})
    weighter.total("discriminator", {"real": scalar(1.0)}, WEIGHTS, 1.0, {})
    weighter.check_unused_weights(("generator", "discriminator"))
