"""Overrides of a stage (weights, optimizers, learning rates, length) against plain loops that apply them by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from plain_loop import (
    Plain,
    Step,
    alternating,
    alternating_thrice,
    assert_engine_is_plain,
    changing,
    generator_first,
    only_generator,
    simultaneous,
)
from tiny_gan import ADAM_D, ADAM_G, TinyGAN, TinyWeights, make_batches, make_tiny

from lit_inpaint.losses.gradient_penalty import gradient_penalty, r1_penalty
from lit_inpaint.schedules import Linear, Steps
from lit_inpaint.settings import SGD, Adam, AdamW, Stage
from lit_inpaint.types import Batch, Prediction, Terms

# Weights ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MoreWeights(TinyWeights):
    dark: float = 0.3
    slope: float = 0.2


class Costly(TinyGAN):
    """Two more terms, one for each player, as functions that record their calls."""

    def __init__(self, penalty: str = "r1", **arguments: Any) -> None:
        super().__init__(**{"weights": MoreWeights(), **arguments})
        self.penalty = penalty
        self.computed: list[str] = []

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        def dark() -> torch.Tensor:
            self.computed.append("dark")
            return prediction.image.square().mean()

        return {**super().generator_losses(batch, prediction), "dark": dark}

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        def slope() -> torch.Tensor:
            self.computed.append("slope")
            if self.penalty == "r1":
                return r1_penalty(self.discriminator, batch["image"])
            return gradient_penalty(self.discriminator, batch["image"], prediction.image, batch["mask"])

        return {**super().discriminator_losses(batch, prediction), "slope": slope}


def make_costly(**arguments: Any) -> Costly:
    torch.manual_seed(0)
    return Costly(**arguments)


def test_weights_by_stage_and_no_unused_term_is_computed() -> None:
    stages = (
        Stage("a", iterations=7, weights={"dark": 0, "slope": 0.0, "l1": 1.5}),
        Stage("b", "alternating", iterations=6, weights={"adversarial": 0.0, "slope": 0.0}),
        Stage("c", "alternating", d_steps=3),
    )

    def by_hand(plain: Plain, number: int) -> None:
        own = {"l1": 3.0, "adversarial": 0.1, "real": 0.5, "fake": 0.5, "dark": 0.3, "slope": 0.2}
        of_stage = {"dark": 0.0, "slope": 0.0, "l1": 1.5} if number < 7 else {"adversarial": 0.0, "slope": 0.0}
        plain.weights = own if number >= 13 else own | of_stage

    def orders(number: int) -> Step:
        return simultaneous if number < 7 else alternating if number < 13 else alternating_thrice

    model = make_costly(stages=stages)
    assert_engine_is_plain(model, make_batches(20), changing(by_hand, orders))
    assert model.computed == ["dark"] * 6 + ["slope", "slope", "slope", "dark"] * 7


@pytest.mark.parametrize("penalty", ["r1", "between real and generated"])
@pytest.mark.parametrize("order", [simultaneous, alternating_thrice, generator_first])
def test_a_gradient_penalty_of_the_discriminator(order: Step, penalty: str) -> None:
    update = {simultaneous: "simultaneous", generator_first: "generator_first"}.get(order, "alternating")
    stages = (Stage(update=update, d_steps=3 if order is alternating_thrice else 1),)
    model = make_costly(stages=stages, penalty=penalty)
    assert_engine_is_plain(model, make_batches(20), lambda number: order)
    assert model.computed.count("slope") == (60 if order is alternating_thrice else 20)


def test_scheduled_weights_of_the_paper_and_of_a_stage() -> None:
    stages = (Stage("a", iterations=8), Stage("b", weights={"adversarial": Linear(0.0, 0.4, length=6)}))
    weights = TinyWeights(l1=Linear(5.0), fake=Steps(0.5, 0.5, (3, 11)))

    def by_hand(plain: Plain, number: int) -> None:
        done = max(0, min(number - 8, 6)) / 6
        plain.weights = {
            "l1": 5.0 * (1 - number / 20),
            "adversarial": 0.1 if number < 8 else 0.4 * done,
            "real": 0.5,
            "fake": 0.5 if number < 3 else 0.25 if number < 11 else 0.125,
        }

    assert_engine_is_plain(make_tiny(stages=stages, weights=weights), make_batches(20), changing(by_hand))


# Optimizers and rates --------------------------------------------------------------------------------------------------------


def to_sgd(plain: Plain) -> None:
    plain.opt_g = torch.optim.SGD(plain.g, lr=0.05, momentum=0.9, nesterov=True)
    plain.finished = [0]


def new_hyperparameters(plain: Plain) -> None:
    plain.opt_d.param_groups[0].update(lr=3e-3, betas=(0.3, 0.8), eps=1e-5, weight_decay=0.1)


def all_fresh(plain: Plain) -> None:
    plain.opt_g = torch.optim.Adam(plain.g, lr=1e-2, betas=(0.5, 0.9))
    plain.opt_d = torch.optim.AdamW(plain.d, lr=5e-3, weight_decay=0.2)
    plain.finished = [0, 2]


STAGES: dict[str, tuple[dict[str, Any], Callable[[Plain], None]]] = {
    "another kind": ({"generator_optimizer": SGD(0.05, 0.9, nesterov=True)}, to_sgd),
    "new hyperparameters, state kept": (
        {"discriminator_optimizer": Adam(3e-3, (0.3, 0.8), 1e-5, 0.1)},
        new_hyperparameters,
    ),
    "fresh": ({"fresh_optimizers": True, "discriminator_optimizer": AdamW(5e-3, weight_decay=0.2)}, all_fresh),
}


@pytest.mark.parametrize("update", ["simultaneous", "alternating"])
@pytest.mark.parametrize("name", STAGES)
def test_optimizers_by_stage(name: str, update: Any) -> None:
    settings, change = STAGES[name]
    order = simultaneous if update == "simultaneous" else alternating
    stages = (Stage("a", update, iterations=9), Stage("b", update, **settings))

    def by_hand(plain: Plain, number: int) -> None:
        if number == 9:
            change(plain)

    assert_engine_is_plain(make_tiny(stages=stages), make_batches(20), changing(by_hand, lambda number: order))


def test_back_to_the_papers_hyperparameters() -> None:
    """A stage's hyperparameters end with it; the moments are kept."""
    stages = (
        Stage("a", iterations=6),
        Stage("b", iterations=6, generator_optimizer=Adam(1e-3, (0.1, 0.5), 1e-4, 0.3), discriminator=False),
        Stage("c"),
    )

    def by_hand(plain: Plain, number: int) -> None:
        inside = {"lr": 1e-3, "betas": (0.1, 0.5), "eps": 1e-4, "weight_decay": 0.3}
        outside = {"lr": 1e-2, "betas": (0.5, 0.9), "eps": 1e-8, "weight_decay": 0.0}
        plain.opt_g.param_groups[0].update(inside if 6 <= number < 12 else outside)

    def orders(number: int) -> Step:
        return only_generator if 6 <= number < 12 else simultaneous

    assert_engine_is_plain(make_tiny(stages=stages), make_batches(20), changing(by_hand, orders))


def test_learning_rates_by_position_in_the_run_and_in_the_stage() -> None:
    stages = (Stage("a", iterations=8), Stage("b", discriminator_optimizer=Adam(Linear(6e-3, hold=2), ADAM_D.betas)))
    generator, discriminator = Adam(Linear(1e-2), ADAM_G.betas), Adam(Steps(2e-2, 0.5, (4,)), ADAM_D.betas)

    def by_hand(plain: Plain, number: int) -> None:
        plain.opt_g.param_groups[0]["lr"] = 1e-2 * (1 - number / 20)
        in_b = 6e-3 if number <= 10 else 6e-3 * (1 - (number - 10) / 10)
        plain.opt_d.param_groups[0]["lr"] = in_b if number >= 8 else 2e-2 if number < 4 else 1e-2

    model = make_tiny(stages=stages, generator_optimizer=generator, discriminator_optimizer=discriminator)
    assert_engine_is_plain(model, make_batches(20), changing(by_hand))


def test_stages_and_learning_rates_in_epochs() -> None:
    stages = (Stage("a", epochs=2), Stage("b", "generator_first", epochs=2, weights={"l1": Linear(2.0, by="epoch")}))
    model = make_tiny(stages=stages, generator_optimizer=Adam(Steps(1e-2, 0.5, (1, 3), by="epoch"), ADAM_G.betas))

    def by_hand(plain: Plain, number: int) -> None:
        epoch = number // 5
        plain.opt_g.param_groups[0]["lr"] = (1e-2, 5e-3, 5e-3, 2.5e-3)[epoch]
        plain.weights["l1"] = (3.0, 3.0, 2.0, 1.0)[epoch]

    orders = changing(by_hand, lambda number: simultaneous if number < 10 else generator_first)
    assert_engine_is_plain(model, make_batches(5) * 4, orders, epoch=5)
