"""bf16 and fp16: no stale low-precision weights, no wrongly scaled gradients."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from plain_loop import ORDERS, Caching, Plain, assert_engine_is_plain, assert_same_state, parts_of
from tiny_gan import Outputs, loader, make_batches, make_tiny, make_trainer
from torch import Tensor

from lit_inpaint.errors import UserError
from lit_inpaint.settings import Stage, Training
from lit_inpaint.types import Batch

IN_PARTS = Training(accumulate_generator=2, accumulate_discriminator=3, channels_last=False)


def alternating_in_parts(plain: Plain, batch: Batch) -> None:
    """As with `IN_PARTS`: D sees predictions that were made without gradients, thrice, then G is asked again."""
    seen, own = parts_of(batch, 3), parts_of(batch, 2)
    with torch.no_grad():
        predictions = [plain.predict(part) for part, _ in seen]
    for _ in range(3):
        d_losses = (share * plain.d_loss(part, made) for (part, share), made in zip(seen, predictions, strict=True))
        plain.step_d(added(plain.grads(loss, plain.d) for loss in d_losses))
    plain.step_g(added(plain.grads(share * plain.g_loss(part, plain.predict(part)), plain.g) for part, share in own))
    plain.log = {}  # of the last parts only


def added(grads: Iterable[list[Tensor | None]]) -> list[Tensor]:
    return [functools.reduce(torch.add, parts) for parts in zip(*grads, strict=True)]


@pytest.mark.parametrize("plugin", [MixedPrecision, Caching])
@pytest.mark.parametrize("order", ORDERS)
def test_bf16_is_the_plain_loop_with_an_autocast_of_its_own_for_each_forward(order: str, plugin: type[MixedPrecision]) -> None:
    stage, step = ORDERS[order]
    model = make_tiny(stages=(stage,), dropout=0.3)
    assert_engine_is_plain(model, make_batches(20), lambda number: step, bf16=plugin("bf16-mixed", "cpu"))


@pytest.mark.parametrize("plugin", [None, MixedPrecision, Caching])
def test_alternating_in_parts_is_the_plain_loop(plugin: type[MixedPrecision] | None) -> None:
    model = make_tiny(stages=(Stage(update="alternating", d_steps=3),), training=IN_PARTS, dropout=0.3)
    bf16 = plugin("bf16-mixed", "cpu") if plugin is not None else None
    assert_engine_is_plain(model, make_batches(20, samples=5), lambda number: alternating_in_parts, bf16=bf16)


@pytest.mark.parametrize("order", ORDERS)
def test_bf16_computes_low_and_keeps_high(order: str) -> None:
    outputs, model = Outputs(), make_tiny(stages=(ORDERS[order][0],))
    seen: set[torch.dtype] = set()
    model.generator[0].register_forward_hook(lambda module, x, y: seen.add(y.dtype))
    make_trainer(4, outputs, precision="bf16-mixed").fit(model, loader(make_batches(4)))
    assert seen == {torch.bfloat16}
    assert all(torch.isfinite(value) for losses in outputs.seen for value in losses.values())
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in model.parameters())


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
    make_trainer(3, outputs, plugins=[fp16()]).fit(make_tiny(stages=(stage,)), loader(make_batches(3)))
    assert all(torch.isfinite(value) for seen in outputs.seen for value in seen.values())


def test_fp16_clips_the_true_gradient() -> None:
    """Not the one the scaler has multiplied by 65,536, which is always above the limit."""
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
