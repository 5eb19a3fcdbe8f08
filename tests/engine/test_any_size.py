"""Every k-th pixel: what is taken where, and put back."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pixel_unshuffle

from lit_inpaint.engine.any_size import regroup, subsample

SHAPES = [(1, 1), (2, 3), (3, 2), (4, 1), (1, 4), (6, 4)]


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_each_part_is_every_kth_pixel_from_its_own_start(rows: int, columns: int) -> None:
    image = torch.arange(2 * 3 * 12 * 24.0).view(2, 3, 12, 24)
    parts = subsample(image, rows, columns)
    assert parts.shape == (2 * rows * columns, 3, 12 // rows, 24 // columns)
    for b in range(2):
        for i in range(rows):
            for j in range(columns):
                assert torch.equal(parts[(b * rows + i) * columns + j], image[b, :, i::rows, j::columns])


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_one_undoes_the_other(rows: int, columns: int) -> None:
    image = torch.rand(2, 3, 12, 24)
    parts = subsample(image, rows, columns)
    assert torch.equal(regroup(parts, rows, columns), image)
    others = torch.rand_like(parts)
    assert torch.equal(subsample(regroup(others, rows, columns), rows, columns), others)


def test_space_to_depth() -> None:
    """PyTorch's own, where as many rows as columns are left out."""
    image = torch.rand(2, 3, 12, 24)
    parts = subsample(image, 3, 3).view(2, 9, 3, 4, 8)
    assert torch.equal(parts.transpose(1, 2).flatten(1, 2), pixel_unshuffle(image, 3))


def test_sides_must_divide() -> None:
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        subsample(torch.rand(1, 3, 13, 24), 2, 2)
