"""bf16 and fp16: no stale low-precision weights, no wrongly scaled gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from plain_loop import assert_same_state
from tiny_gan import Outputs, loader, make_batches, make_tiny, make_trainer

from lit_inpaint.settings import Stage, Training
from lit_inpaint.types import UserError


@pytest.mark.parametrize("update", ["simultaneous", "alternating", "generator_first"])
def test_bf16_gives_finite_losses_and_float_weights(update: Any) -> None:
    outputs, model = Outputs(), make_tiny(plan=(Stage(update=update),))
    before = copy.deepcopy(model.state_dict())
    make_trainer(4, outputs, precision="bf16-mixed").fit(model, loader(make_batches(4)))
    assert len(outputs.seen) == 4
    assert all(torch.isfinite(value) for seen in outputs.seen for value in seen.values())
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in model.parameters())
    assert not torch.equal(model.generator[0].weight, before["generator.0.weight"])


# fp16 ------------------------------------------------------------------------------------------------------------------------


def fp16() -> MixedPrecision:
    """What `precision="16-mixed"` means on a GPU; on the CPU, Lightning would quietly take bf16 instead."""
    return MixedPrecision("16-mixed", "cpu")


def test_fp16_refuses_one_backward_for_two_optimizers() -> None:
    model = make_tiny()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match=r"16-mixed .* simultaneous .* bf16-mixed or 32-true"):
        make_trainer(2, plugins=[fp16()]).fit(model, loader(make_batches(2)))
    assert_same_state(model.state_dict(), before)


@pytest.mark.parametrize("stage", [Stage(discriminator=False), Stage(update="alternating"), Stage(update="generator_first")])
def test_fp16_is_welcome_where_it_is_right(stage: Stage) -> None:
    outputs = Outputs()
    make_trainer(3, outputs, plugins=[fp16()]).fit(make_tiny(plan=(stage,)), loader(make_batches(3)))
    assert all(torch.isfinite(value) for seen in outputs.seen for value in seen.values())


def test_fp16_clips_the_true_gradient() -> None:
    """Not the one the scaler has multiplied by 65,536, which is always above the limit."""
    batches, after = make_batches(4), {}
    for clip in (None, 100.0):
        model = make_tiny(
            plan=(Stage(update="alternating"),),
            training=Training(clip_generator=clip, clip_discriminator=clip, channels_last=False),
        )
        trainer = make_trainer(4, plugins=[fp16()])
        trainer.fit(model, loader(batches))
        after[clip] = [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]
    assert float(after[None][0][0]["step"]) > 0, "the scaler skipped every step: the test compares nothing"
    for unclipped, unreached in zip(after[None], after[100.0], strict=True):
        assert_same_state(dict(unreached), dict(unclipped))
