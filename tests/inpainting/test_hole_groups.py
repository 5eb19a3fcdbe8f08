"""Groups of holes, and the windows that cover them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lit_inpaint.inpainting.hole_groups import Window, expand, group_holes, tile, windows_around


def boxes_of(hole: np.ndarray, distance: int, join_up_to: int) -> list[Window]:
    """The groups' boxes, after a check that each hole pixel belongs to exactly one group."""
    groups = list(group_holes(hole, distance, join_up_to))
    count = np.zeros(hole.shape, int)
    for box, pixels in groups:
        count[box.slices] += pixels
    assert (count == hole).all()
    return [box for box, _ in groups]


def hole_at(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    hole = np.zeros(shape, bool)
    for top, bottom, left, right in boxes:
        hole[top:bottom, left:right] = True
    return hole


def test_near_holes_are_one_group_and_far_ones_two() -> None:
    near = hole_at((600, 900), (100, 120, 100, 400), (100, 120, 410, 700))
    assert boxes_of(near, 32, 128) == [Window(100, 120, 100, 700)]
    far = hole_at((600, 900), (0, 300, 0, 300), (400, 600, 500, 900))
    assert sorted(boxes_of(far, 32, 128)) == [Window(0, 300, 0, 300), Window(400, 600, 500, 900)]


def test_specks_are_joined() -> None:
    """A thousand specks must not become a thousand windows."""
    hole = np.zeros((1024, 1024), bool)
    rng = np.random.default_rng(0)
    hole[rng.integers(0, 1024, 400), rng.integers(0, 1024, 400)] = True
    boxes = boxes_of(hole, 8, 256)
    assert len(boxes) <= 16 + 9


def test_overlapping_boxes_share_no_pixel() -> None:
    """An L around a speck: the speck lies in the L's box, and stays a group of its own."""
    hole = hole_at((600, 600), (0, 600, 0, 20), (580, 600, 0, 600), (200, 210, 300, 310))
    assert sorted(boxes_of(hole, 32, 128)) == [Window(0, 600, 0, 600), Window(200, 210, 300, 310)]


def test_no_hole_is_no_group() -> None:
    assert boxes_of(np.zeros((50, 40), bool), 8, 32) == []


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (64, 64), (301, 187)])
@pytest.mark.parametrize("side", [16, 64])
def test_windows_cover_and_stay_inside(shape: tuple[int, int], side: int) -> None:
    rng = np.random.default_rng(shape[0] + side)
    hole = rng.random(shape) < 0.01
    hole[rng.integers(shape[0]), rng.integers(shape[1])] = True
    kinds = [list(tile(shape, side))]
    kinds.append([window for box in boxes_of(hole, side // 4, side) for window in windows_around(box, shape, side)])
    for windows, limit in zip(kinds, (side, 2 * side), strict=True):
        covered = np.zeros(shape, bool)
        for window in windows:
            assert 0 <= window.top < window.bottom <= shape[0]
            assert 0 <= window.left < window.right <= shape[1]
            assert max(window.shape) <= limit
            covered[window.slices] = True
        assert covered[hole].all()


def test_a_small_hole_is_in_the_middle_of_its_window() -> None:
    (window,) = windows_around(Window(500, 520, 700, 740), (2000, 2000), 256)
    assert window == Window(382, 638, 592, 848)


def test_neighboring_windows_overlap() -> None:
    for windows, overlap in (
        (list(tile((64, 1000), 64)), 16),
        (list(windows_around(Window(0, 64, 0, 1000), (64, 1000), 64)), 32),
    ):
        for left, right in pairwise(windows):
            assert left.right - right.left >= overlap


def test_a_margin_ends_at_the_image() -> None:
    assert expand(Window(5, 10, 20, 30), 8, (12, 100)) == Window(0, 12, 12, 38)
