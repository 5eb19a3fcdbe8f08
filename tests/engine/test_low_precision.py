"""bf16 and fp16: no stale low-precision weights, no wrongly scaled gradients."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from plain_loop import ORDERS, Caching, Plain, assert_engine_is_plain, assert_same_state, micro_batches_of
from tiny_gan import Outputs, loader, make_batches, make_tiny, make_trainer
from torch import Tensor

from lit_inpaint.errors import UserError
from lit_inpaint.settings import Stage, Training
from lit_inpaint.types import Batch

MICRO_BATCHES = Training(accumulate_generator=2, accumulate_discriminator=3, channels_last=False)


def alternating_with_micro_batches(plain: Plain, batch: Batch) -> None:
    """As with `MICRO_BATCHES`: three updates of D on predictions without gradients, then a second forward of G."""
    for_d, for_g = micro_batches_of(batch, 3), micro_batches_of(batch, 2)
    with torch.no_grad():
        predictions = [plain.predict(micro) for micro, _ in for_d]
    for _ in range(3):
        d_losses = (fraction * plain.d_loss(micro, made) for (micro, fraction), made in zip(for_d, predictions, strict=True))
        plain.step_d(accumulated(plain.grads(loss, plain.d) for loss in d_losses))
    plain.step_g(
        accumulated(plain.grads(fraction * plain.g_loss(micro, plain.predict(micro)), plain.g) for micro, fraction in for_g)
    )
    plain.log = {}  # holds the last micro-batches only


def accumulated(grads: Iterable[list[Tensor | None]]) -> list[Tensor]:
    return [functools.reduce(torch.add, grad) for grad in zip(*grads, strict=True)]


@pytest.mark.parametrize("plugin", [MixedPrecision, Caching])
@pytest.mark.parametrize("order", ORDERS)
def test_bf16_is_the_plain_loop_with_one_autocast_per_forward(order: str, plugin: type[MixedPrecision]) -> None:
    stage, step = ORDERS[order]
    model = make_tiny(stages=(stage,), dropout=0.3)
    assert_engine_is_plain(model, make_batches(20), lambda number: step, bf16=plugin("bf16-mixed", "cpu"))


@pytest.mark.parametrize("plugin", [None, MixedPrecision, Caching])
def test_alternating_with_micro_batches_is_the_plain_loop(plugin: type[MixedPrecision] | None) -> None:
    model = make_tiny(stages=(Stage(update="alternating", d_steps=3),), training=MICRO_BATCHES, dropout=0.3)
    bf16 = plugin("bf16-mixed", "cpu") if plugin is not None else None
    assert_engine_is_plain(model, make_batches(20, samples=5), lambda number: alternating_with_micro_batches, bf16=bf16)


@pytest.mark.parametrize("order", ORDERS)
def test_bf16_computes_in_bf16_and_keeps_weights_in_float32(order: str) -> None:
    outputs, model = Outputs(), make_tiny(stages=(ORDERS[order][0],))
    seen: set[torch.dtype] = set()
    model.generator[0].register_forward_hook(lambda module, x, y: seen.add(y.dtype))
    make_trainer(4, outputs, precision="bf16-mixed").fit(model, loader(make_batches(4)))
    assert seen == {torch.bfloat16}
    assert all(torch.isfinite(value) for losses in outputs.seen for value in losses.values())
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in model.parameters())


# fp16 ------------------------------------------------------------------------------------------------------------------------


def fp16() -> MixedPrecision:
    """Return the plugin of `precision="16-mixed"` on a GPU; on the CPU, Lightning would use bf16 instead."""
    return MixedPrecision("16-mixed", "cpu")


def test_fp16_refuses_one_backward_for_two_optimizers() -> None:
    model = make_tiny()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match=r"16-mixed .* simultaneous .* bf16-mixed or 32-true"):
        make_trainer(2, plugins=[fp16()]).fit(model, loader(make_batches(2)))
    assert_same_state(model.state_dict(), before)


@pytest.mark.parametrize("stage", [Stage(discriminator=False), Stage(update="alternating"), Stage(update="generator_first")])
def test_fp16_is_accepted_in_other_update_orders(stage: Stage) -> None:
    outputs = Outputs()
    make_trainer(3, outputs, plugins=[fp16()]).fit(make_tiny(stages=(stage,)), loader(make_batches(3)))
    assert all(torch.isfinite(value) for seen in outputs.seen for value in seen.values())


def test_fp16_clips_the_unscaled_gradient() -> None:
    """Not the scaled gradient, which is 65,536 times as large and always above the limit."""
    batches, after = make_batches(4), {}
    for clip in (None, 100.0):
        model = make_tiny(
            stages=(Stage(update="alternating"),),
            training=Training(clip_generator=clip, clip_discriminator=clip, channels_last=False),
        )
        trainer = make_trainer(4, plugins=[fp16()])
        trainer.fit(model, loader(batches))
        after[clip] = [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]
    assert float(after[None][0][0]["step"]) > 0, "the scaler skipped every step: the test compares nothing"
    for unclipped, unreached in zip(after[None], after[100.0], strict=True):
        assert_same_state(dict(unreached), dict(unclipped))
