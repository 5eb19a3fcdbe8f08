"""A batch in parts learns what the whole batch would have taught."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from plain_loop import ORDERS
from tiny_gan import Outputs, TinyGAN, loader, make_batches, make_trainer
from torch import Tensor, nn

from lit_inpaint.settings import Training


class Separable(TinyGAN):
    """No layer in which samples meet or which a second forward changes: no batch norm, dropout, spectral norm."""

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


def largest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def differences(order: str, samples: int, precision: str, counts: dict[str, int], clip: float | None) -> tuple[float, float]:
    """The largest between a whole run and one in parts: of the weights after it, of the losses on the way."""
    clips = {"clip_generator": clip, "clip_discriminator": clip}
    (whole, said), (model, says) = fit(order, samples, precision, **clips), fit(order, samples, precision, **clips, **counts)
    losses = max(largest(ours, theirs) for ours, theirs in zip(says.seen, said.seen, strict=True))
    return largest(model.state_dict(), whole.state_dict()), losses


PARTS = {
    "G in two": (4, {"accumulate_generator": 2}),
    "D in two": (4, {"accumulate_discriminator": 2}),
    "unequal parts": (5, {"accumulate_generator": 3, "accumulate_discriminator": 2}),
    "more parts than samples": (3, {"accumulate_generator": 8, "accumulate_discriminator": 5}),
}
LIMIT = 0.05
"""A gradient norm that these runs are well above."""


@pytest.mark.parametrize("clip", [None, LIMIT])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("order", ORDERS)
def test_parts_add_up_to_the_batch(order: str, parts: str, clip: float | None) -> None:
    samples, counts = PARTS[parts]
    weights, losses = differences(order, samples, "64-true", counts, clip)
    assert weights < 1e-13
    assert losses < 1e-12


@pytest.mark.parametrize("order", ORDERS)
def test_parts_add_up_in_single_precision(order: str) -> None:
    weights, losses = differences(order, 5, "32-true", {"accumulate_generator": 3, "accumulate_discriminator": 2}, None)
    assert weights < 1e-5
    assert losses < 5e-5


@pytest.mark.parametrize("order", ORDERS)
def test_the_limit_above_did_clip(order: str) -> None:
    clipped, free = (fit(order, 4, "64-true", clip_generator=clip, clip_discriminator=clip)[0] for clip in (LIMIT, None))
    assert largest(clipped.state_dict(), free.state_dict()) > 1e-2


FORWARDS = {
    "simultaneous": ([1, 2, 2], [1, 1, 1, 2, 2, 2, 2, 2, 2]),  # one forward for both, in as many parts as either wants
    "alternating": ([2, 3, 1, 2, 2], [2, 2, 3, 3, 1, 2, 2]),
    "alternating, D thrice": ([2, 3, 1, 2, 2], [2, 2, 3, 3] * 3 + [1, 2, 2]),
    "generator first": ([1, 2, 2], [1, 2, 2, 2, 2, 3, 3]),
}


@pytest.mark.parametrize("order", ORDERS)
def test_how_many_samples_each_forward_sees(order: str) -> None:
    """Five samples, the generator's turn in three parts, D's in two; D sees real or generated images, never both at once."""
    model, _ = fit(order, 5, "64-true", steps=1, accumulate_generator=3, accumulate_discriminator=2)
    assert (model.samples["generator"], model.samples["discriminator"]) == FORWARDS[order]


def test_a_batch_is_cut_only_when_asked_to() -> None:
    for order in ORDERS:
        model, _ = fit(order, 5, "64-true", steps=1)
        assert model.samples["generator"] == [5], "one forward serves both players"
        assert set(model.samples["discriminator"]) == {5}
