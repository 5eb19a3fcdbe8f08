"""Crops around holes: places and contents."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_inpaint.nets.hole_crops import crop_windows, windows_around_holes


def test_windows_contain_the_hole() -> None:
    mask = torch.zeros(4, 1, 40, 60)
    mask[0, :, 10:14, 20:28] = 1
    mask[1, :, :3, 57:] = 1  # in a corner
    mask[2, :, 2:38, 10] = 1  # taller than the crop
    windows = windows_around_holes(mask, 16)
    assert windows.tolist() == [[4, 16], [0, 44], [12, 2], [12, 22]]
    torch.manual_seed(0)
    rows, columns = ({one[axis] for one in draws} for draws in [many(mask[:1])] for axis in (0, 1))
    assert (rows, columns) == (set(range(11)), set(range(12, 21)))
    assert set(many(mask[1:2])) == {(0, 44)}
    assert {row for row, _ in many(mask[2:3])} == set(range(2, 23))
    rows, columns = ({one[axis] for one in draws} for draws in [many(mask[3:])] for axis in (0, 1))
    assert (rows, columns) == (set(range(25)), set(range(45))), "without a hole anywhere"
    image = torch.rand(4, 3, 40, 60, requires_grad=True)
    crops = crop_windows(image, windows, 16)
    assert crops.shape == (4, 3, 16, 16)
    for crop, one, (row, column) in zip(crops, image, windows.tolist(), strict=True):
        assert torch.equal(crop, one[:, row : row + 16, column : column + 16])
    (gradient,) = torch.autograd.grad(crops.sum(), image)
    assert gradient.sum() == crops.numel()


def many(mask: Tensor) -> list[tuple[int, int]]:
    return [(row, column) for row, column in windows_around_holes(mask.expand(600, -1, -1, -1), 16, anywhere=True).tolist()]
