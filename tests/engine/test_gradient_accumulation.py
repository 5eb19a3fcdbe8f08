"""Splitting a batch into micro-batches, and training on them instead of the whole batch."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from plain_loop import ORDERS, micro_batches_of
from tiny_gan import Outputs, TinyGAN, loader, make_batches, make_trainer
from torch import Tensor, nn

from lit_inpaint.engine.gradient_accumulation import concat_predictions, slice_prediction, split_batch
from lit_inpaint.settings import Training
from lit_inpaint.types import Prediction


@pytest.mark.parametrize("samples", [1, 2, 5, 6])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_micro_batches_are_the_batch_in_order(samples: int, count: int) -> None:
    (batch,) = make_batches(1, samples=samples)
    micro_batches = split_batch(batch, count)
    sizes = [len(micro.batch["name"]) for micro in micro_batches]
    assert len(micro_batches) == min(count, samples)
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == samples
    batch["edges"] = batch["mask"].flip(-1)
    micro_batches = split_batch(batch, count)
    for key in ("image", "mask", "edges"):
        assert torch.equal(torch.cat([micro.batch[key] for micro in micro_batches]), batch[key])
    assert [name for micro in micro_batches for name in micro.batch["name"]] == batch["name"]
    assert [micro.fraction for micro in micro_batches] == pytest.approx([size / samples for size in sizes])
    assert [micro.is_last for micro in micro_batches] == [False] * (len(micro_batches) - 1) + [True]
    for micro in micro_batches:
        assert torch.equal(batch["image"][micro.samples], micro.batch["image"])


def test_one_micro_batch_is_the_batch_itself() -> None:
    (batch,) = make_batches(1, samples=3)
    (micro,) = split_batch(batch, 1)
    assert micro.batch is batch
    assert micro.fraction == 1.0


@pytest.mark.parametrize(("samples", "count"), [(4, 2), (5, 2), (5, 3), (3, 8)])
def test_the_reference_splits_the_batch_equally(samples: int, count: int) -> None:
    (batch,) = make_batches(1, samples=samples)
    ours, reference = split_batch(batch, count), micro_batches_of(batch, count)
    assert [(micro.batch["name"], micro.fraction) for micro in ours] == [
        (micro["name"], fraction) for micro, fraction in reference
    ]


@pytest.mark.parametrize("made", [1, 2, 5])
@pytest.mark.parametrize("used", [1, 3, 5])
def test_predictions_are_split_otherwise_than_they_were_made(made: int, used: int) -> None:
    (batch,) = make_batches(1, samples=5)
    predictions = [
        Prediction(micro.batch["image"] * 2, {"coarse": micro.batch["image"] + 1}) for micro in split_batch(batch, made)
    ]
    whole = concat_predictions(predictions)
    for micro in split_batch(batch, used):
        prediction = slice_prediction(whole, micro)
        assert torch.equal(prediction.image, micro.batch["image"] * 2)
        assert torch.equal(prediction.stages["coarse"], micro.batch["image"] + 1)
        assert prediction.stages.keys() == {"coarse"}


def test_a_single_prediction_is_not_copied() -> None:
    prediction = Prediction(torch.ones(2, 3, 4, 4))
    assert concat_predictions([prediction]) is prediction


# Training -------------------------------------------------------------------------------------------------------------------


class Separable(TinyGAN):
    """No layer that mixes samples or that a second forward changes: no batch norm, dropout, spectral norm."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.generator = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 3, 3, padding=1))
        self.discriminator = nn.Sequential(nn.Conv2d(3, 4, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 4))
        self.samples: dict[str, list[int]] = {"generator": [], "discriminator": []}
        self.generator.register_forward_hook(lambda module, x, y: self.samples["generator"].append(len(y)))
        self.discriminator.register_forward_hook(lambda module, x, y: self.samples["discriminator"].append(len(y)))


@functools.cache
def fit(order: str, samples: int, precision: Any, steps: int = 20, **training: Any) -> tuple[Separable, Outputs]:
    torch.manual_seed(0)
    model, outputs = Separable(stages=(ORDERS[order][0],), training=Training(channels_last=False, **training)), Outputs()
    make_trainer(steps, outputs, precision=precision).fit(model, loader(make_batches(steps, samples=samples)))
    return model, outputs


def max_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def differences(order: str, samples: int, precision: str, counts: dict[str, int], clip: float | None) -> tuple[float, float]:
    """Return the max difference to a run with whole batches: of the weights at the end, of the losses of all steps."""
    clips = {"clip_generator": clip, "clip_discriminator": clip}
    (whole, expected), (model, found) = (
        fit(order, samples, precision, **clips),
        fit(order, samples, precision, **clips, **counts),
    )
    losses = max(max_difference(ours, theirs) for ours, theirs in zip(found.seen, expected.seen, strict=True))
    return max_difference(model.state_dict(), whole.state_dict()), losses


SPLITS = {
    "G in two": (4, {"accumulate_generator": 2}),
    "D in two": (4, {"accumulate_discriminator": 2}),
    "unequal micro-batches": (5, {"accumulate_generator": 3, "accumulate_discriminator": 2}),
    "more micro-batches than samples": (3, {"accumulate_generator": 8, "accumulate_discriminator": 5}),
}
LIMIT = 0.05
"""A gradient norm that these runs exceed."""


@pytest.mark.parametrize("clip", [None, LIMIT])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("order", ORDERS)
def test_micro_batches_add_up_to_the_batch(order: str, split: str, clip: float | None) -> None:
    samples, counts = SPLITS[split]
    weights, losses = differences(order, samples, "64-true", counts, clip)
    assert weights < 1e-13
    assert losses < 1e-12


@pytest.mark.parametrize("order", ORDERS)
def test_micro_batches_add_up_in_single_precision(order: str) -> None:
    weights, losses = differences(order, 5, "32-true", {"accumulate_generator": 3, "accumulate_discriminator": 2}, None)
    assert weights < 1e-5
    assert losses < 5e-5


@pytest.mark.parametrize("order", ORDERS)
def test_the_limit_above_clips(order: str) -> None:
    clipped, free = (fit(order, 4, "64-true", clip_generator=clip, clip_discriminator=clip)[0] for clip in (LIMIT, None))
    assert max_difference(clipped.state_dict(), free.state_dict()) > 1e-2


FORWARDS = {
    "simultaneous": ([1, 2, 2], [1, 1, 1, 2, 2, 2, 2, 2, 2]),  # one forward for both, in the larger number of micro-batches
    "alternating": ([2, 3, 1, 2, 2], [2, 2, 3, 3, 1, 2, 2]),
    "alternating, D thrice": ([2, 3, 1, 2, 2], [2, 2, 3, 3] * 3 + [1, 2, 2]),
    "generator first": ([1, 2, 2], [1, 2, 2, 2, 2, 3, 3]),
    "generator first, recomputed": ([1, 2, 2, 2, 3], [1, 2, 2, 2, 2, 3, 3]),
}


@pytest.mark.parametrize("order", ORDERS)
def test_number_of_samples_in_each_forward(order: str) -> None:
    """Five samples: three micro-batches for G, two for D; one forward of D has real or generated images, never both."""
    model, _ = fit(order, 5, "64-true", steps=1, accumulate_generator=3, accumulate_discriminator=2)
    assert (model.samples["generator"], model.samples["discriminator"]) == FORWARDS[order]


def test_by_default_a_batch_is_not_split() -> None:
    for order in ORDERS:
        model, _ = fit(order, 5, "64-true", steps=1)
        assert model.samples["generator"] == [5] * (1 + order.endswith("recomputed")), "one forward for both players"
        assert set(model.samples["discriminator"]) == {5}
