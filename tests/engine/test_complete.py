"""`complete`: images of any size, with unchanged known pixels."""

from __future__ import annotations

import pytest
import torch
from tiny_gan import make_batches, make_tiny
from torch import nn

from lit_inpaint.papers import LPINet


@pytest.fixture(scope="module")
def lpi() -> LPINet:
    torch.manual_seed(0)
    return LPINet().eval()


@pytest.mark.parametrize("size", [(37, 53), (1, 1), (64, 48)])
@pytest.mark.parametrize("hole", ["some", "all", "none"])
def test_complete_at_any_size(lpi: LPINet, size: tuple[int, int], hole: str) -> None:
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, *size, generator=rng)
    mask = {"some": (torch.rand(2, 1, *size, generator=rng) < 0.4).float()}.get(
        hole, torch.full((2, 1, *size), float(hole == "all"))
    )
    kept = image.clone(), mask.clone()
    done = lpi.complete(image, mask)
    assert done.shape == image.shape
    assert done.dtype == image.dtype
    assert not done.requires_grad
    assert done.min() >= 0
    assert done.max() <= 1
    known = (mask == 0).expand_as(image)
    assert torch.equal(done[known], image[known])
    assert torch.equal(image, kept[0]), "a batch is never changed in place"
    assert torch.equal(mask, kept[1])
    if hole != "none":
        assert not torch.equal(done, image)
    filled = torch.where(mask > 0.5, torch.full_like(image, 0.123), image)
    assert torch.equal(lpi.complete(filled, mask), done), "the content of holes is ignored"


def test_complete_is_the_clamped_composite() -> None:
    model = make_tiny().eval()
    (batch,) = make_batches(1)
    with torch.no_grad():
        nn.init.constant_(model.generator[-1].bias, 2.0)
        raw = model(batch["image"], batch["mask"]).image
    assert raw.max() > 1
    expected = torch.where(batch["mask"] == 1, raw.clamp(0, 1), batch["image"])
    assert torch.equal(model.complete(batch["image"], batch["mask"]), expected)


def test_padding_goes_to_the_right_and_below(lpi: LPINet) -> None:
    image = torch.rand(1, 3, 37, 53, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(1, 1, 37, 53)
    mask[..., 5:20, 30:] = 1
    grown = torch.cat([image, image[..., -1:].expand(-1, -1, -1, 11)], dim=3)
    grown = torch.cat([grown, grown[..., -1:, :].expand(-1, -1, 11, -1)], dim=2)
    holes = torch.zeros(1, 1, 48, 64)
    holes[..., 5:20, 30:] = 1
    assert torch.equal(lpi.complete(image, mask), lpi.complete(grown, holes)[..., :37, :53])


def test_large_images_are_subsampled() -> None:
    model = make_tiny().eval()
    model.subsample_above = 8
    (batch,) = make_batches(1, size=24)
    image, mask = batch["image"][..., :16, :], batch["mask"][..., :16, :]
    completed = model.complete(image, mask)
    for i in range(2):
        for j in range(3):
            small = model.complete(image[..., i::2, j::3], mask[..., i::2, j::3])
            torch.testing.assert_close(completed[..., i::2, j::3], small, atol=1e-5, rtol=0)


def test_resizing_before_subsampling_ignores_the_content_of_holes() -> None:
    model = make_tiny().eval()
    model.subsample_above = 8
    (batch,) = make_batches(1, size=21)
    completed = model.complete(batch["image"], batch["mask"])
    known = (batch["mask"] == 0).expand_as(completed)
    assert torch.equal(completed[known], batch["image"][known])
    other = torch.where(batch["mask"] == 1, torch.rand(batch["image"].shape), batch["image"])
    assert torch.equal(model.complete(other, batch["mask"]), completed)
