"""Parts that a stage holds still, `frozen` or `eval_modules`, against plain loops that do it by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from plain_loop import Plain, alternating, assert_engine_is_plain, assert_same_state, changing, simultaneous
from tiny_gan import loader, make_batches, make_tiny, make_trainer

from lit_inpaint.settings import Stage


class Still(Callback):
    """The generator's batch norm after each batch, and which parts of the paper are in evaluation mode then."""

    def __init__(self) -> None:
        self.norms: list[dict[str, torch.Tensor]] = []
        self.resting: list[set[str]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.norms.append({name: tensor.clone() for name, tensor in pl_module.generator[1].state_dict().items()})
        self.resting.append({name for name, module in pl_module.named_modules() if not module.training})


@pytest.mark.parametrize("update", ["simultaneous", "alternating"])
@pytest.mark.parametrize("name", ["generator.1", "generator.[01]", "discriminator.0"])
def test_frozen_parts_sleep_for_a_stage_and_wake_after_it(name: str, update: Any) -> None:
    order = simultaneous if update == "simultaneous" else alternating
    stages = (Stage("a", update, iterations=7), Stage("b", update, iterations=6, frozen=(name,)), Stage("c", update))

    def by_hand(plain: Plain, number: int) -> None:
        parts = {
            "generator.1": [plain.twin.generator[1]],
            "generator.[01]": [plain.twin.generator[0], plain.twin.generator[1]],
            "discriminator.0": [plain.twin.discriminator[0]],
        }
        for part in parts[name]:
            part.train(not 7 <= number < 13)
            part.requires_grad_(not 7 <= number < 13)

    model = make_tiny(stages=stages)
    assert_engine_is_plain(model, make_batches(20), changing(by_hand, lambda number: order))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_frozen_batch_norm_stands_still_through_validations_too() -> None:
    """Its scale, its shift, its running statistics and their count; the rest of the generator goes on."""
    stages = (Stage("a", iterations=4), Stage("b", iterations=8, frozen=("generator.1",)), Stage("c"))
    model, still = make_tiny(stages=stages), Still()
    trainer = make_trainer(16, still, val_check_interval=3, check_val_every_n_epoch=None)
    trainer.fit(model, loader(make_batches(16)), loader(make_batches(1)))
    assert still.resting == [set()] * 4 + [{"generator.1"}] * 8 + [set()] * 4
    for norm in still.norms[4:12]:
        assert_same_state(norm, still.norms[3])
    for place in (3, 12):
        assert all(not torch.equal(old, still.norms[place][name]) for name, old in still.norms[place - 1].items())


def test_a_run_that_ends_in_a_frozen_stage_leaves_nothing_asleep() -> None:
    model = make_tiny(
        stages=(Stage(frozen=("generator.1", "discriminator.*"), eval_modules=("generator.3",), discriminator=False),)
    )
    make_trainer(2).fit(model, loader(make_batches(2)))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_evaluating_parts_go_on_learning() -> None:
    stages = (Stage("a", iterations=7), Stage("b", iterations=6, eval_modules=("generator.1", "generator.3")), Stage("c"))

    def by_hand(plain: Plain, number: int) -> None:
        for part in (plain.twin.generator[1], plain.twin.generator[3]):
            part.train(not 7 <= number < 13)

    model, still = make_tiny(stages=stages, dropout=0.5), Still()
    assert_engine_is_plain(model, make_batches(20), changing(by_hand))

    again = make_tiny(stages=stages, dropout=0.5)
    make_trainer(14, still).fit(again, loader(make_batches(20)))
    for name, before in still.norms[6].items():
        learnt = name in ("weight", "bias")
        assert torch.equal(before, still.norms[12][name]) != learnt, name
