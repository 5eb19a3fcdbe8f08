"""Strategies for large images: known pixels, seams, sizes of the windows, wide holes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.baselines import ClassicalMethod, mean_fill, telea
from lit_inpaint.inpainting.strategies import Filler, Strategy

SIZE = 32
STRATEGIES = ("crop", "tiles", "whole")
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


class Recorder:
    """A method that fills with a color and records what it gets."""

    def __init__(self, value: float = 0.2) -> None:
        self.value, self.masks = value, list[Tensor]()

    def __call__(self, image: Tensor, mask: Tensor) -> Tensor:
        self.masks.append(mask)
        assert bool((image[mask.expand_as(image) > 0.5] == 0).all()), "the content of holes must not reach the method"
        return torch.full_like(image, self.value)

    def filler(self, strategy: Strategy, coarse_to_fine: bool = True) -> Filler:
        return Filler(ClassicalMethod("recorder", self), strategy, SIZE, coarse_to_fine)


def scattered_holes(shape: tuple[int, int] = (150, 210)) -> NDArray[np.bool_]:
    """A long scratch, a wide hole at the border, specks."""
    hole = np.zeros(shape, bool)
    hole[70:74, 5:200] = True
    hole[:60, 100:180] = True
    hole[np.random.default_rng(1).integers(80, 150, 30), np.random.default_rng(2).integers(0, 210, 30)] = True
    return hole


@each_strategy
@pytest.mark.parametrize(
    ("dtype", "channels", "white"), [(np.uint8, 3, 255), (np.uint8, 1, 255), (np.uint16, 3, 65535), (np.float32, 3, 1.0)]
)
def test_known_pixels_stay_and_all_others_are_filled(strategy: Strategy, dtype: type, channels: int, white: float) -> None:
    hole = scattered_holes()
    rng = np.random.default_rng(0)
    source = (rng.random((*hole.shape, channels)) * white).astype(dtype)
    if dtype == np.float32:
        source[hole] = np.nan
    pixels = source.copy()
    Recorder().filler(strategy).fill(pixels, white, hole)
    assert (pixels[~hole] == source[~hole]).all()
    filled = np.float32(0.2) if dtype == np.float32 else round(0.2 * white)
    assert np.allclose(pixels[hole], filled, rtol=1e-6)


@each_strategy
def test_the_size_of_what_a_method_gets_is_limited(strategy: Strategy) -> None:
    hole, method = scattered_holes(), Recorder()
    method.filler(strategy).fill(np.zeros((*hole.shape, 3), np.uint8), 255, hole)
    largest = max(max(mask.shape) for mask in method.masks)
    assert largest <= {"crop": 2 * SIZE, "tiles": SIZE, "whole": 210}[strategy]
    assert all(mask.any() for mask in method.masks), "windows without holes are left out"
    if strategy == "whole":
        assert len(method.masks) == 1


def test_a_wide_hole_is_narrow_at_the_scale_where_it_is_filled() -> None:
    """Of an image above the trained size the method gets a band of an eighth of it; the middle comes from reduced images."""
    hole = np.zeros((300, 300), bool)
    hole[90:210, 80:220] = True
    for coarse_to_fine in (True, False):
        method = Recorder()
        method.filler("crop", coarse_to_fine).fill(np.zeros((*hole.shape, 3), np.uint8), 255, hole)
        large = max(_thickness(mask[0, 0]) for mask in method.masks if max(mask.shape) > SIZE)
        small = max((_thickness(mask[0, 0]) for mask in method.masks if max(mask.shape) <= SIZE), default=0)
        if coarse_to_fine:
            assert large <= 2 * (SIZE // 8) + 2
            assert 0 < small <= SIZE // 2
        else:
            assert (large, small) == (2 * SIZE, 0)


def test_a_wide_hole_becomes_continuous() -> None:
    """Of a slope that is linear in both directions, a smooth fill is continuous at the border and in the middle."""
    rows, columns = np.mgrid[:300, :300]
    source = np.repeat((0.3 * rows + 0.4 * columns)[..., None], 3, axis=2).astype(np.uint8)
    hole = np.zeros((300, 300), bool)
    hole[90:210, 80:220] = True
    pixels = source.copy()
    Filler(ClassicalMethod("Telea", telea), "crop", SIZE).fill(pixels, 255, hole)
    steps = [np.abs(np.diff(pixels[..., 0].astype(int), axis=axis))[75:225, 65:235].max() for axis in (0, 1)]
    assert max(steps) <= 12
    assert np.abs(pixels[hole].astype(int) - source[hole]).mean() < 12


@pytest.mark.parametrize("strategy", ["crop", "tiles"])
def test_windows_leave_no_seam(strategy: Strategy) -> None:
    """A method that fills each window with one color is the worst case: neighboring windows differ, and must be faded."""
    rows, columns = np.mgrid[:200, :320]
    source = np.repeat(((rows + columns) / 520 * 255)[..., None], 3, axis=2).astype(np.uint8)
    hole = (rows // 10 + columns // 10) % 2 == 0
    pixels = source.copy()
    Filler(ClassicalMethod("mean", mean_fill), strategy, SIZE, coarse_to_fine=False).fill(pixels, 255, hole)
    filled = pixels[..., 0].astype(int)
    for axis in (0, 1):
        steps = np.abs(np.diff(filled, axis=axis))
        both = (hole[1:] & hole[:-1]) if axis == 0 else (hole[:, 1:] & hole[:, :-1])
        assert steps[both].max() <= 4, "the windows themselves differ by 12 (tiles) and 24 (crop)"


def test_an_image_without_known_pixels() -> None:
    for strategy in STRATEGIES:
        pixels = np.zeros((70, 90, 3), np.uint8)
        Recorder(1.0).filler(strategy).fill(pixels, 255, np.ones((70, 90), bool))
        assert (pixels == 255).all()


def test_a_misspelt_strategy() -> None:
    with pytest.raises(UserError, match=r"there is no 'tile'; there are crop, tiles, whole; did you mean 'tiles'"):
        Filler(ClassicalMethod("mean", mean_fill), "tile")  # type: ignore[arg-type]


def _thickness(mask: Tensor) -> int:
    """Side of the largest square of holes, by erosion."""
    side, eroded = 0, mask.numpy() > 0.5
    while eroded.any():
        side += 1
        eroded = eroded[1:, 1:] & eroded[1:, :-1] & eroded[:-1, 1:] & eroded[:-1, :-1]
    return side
