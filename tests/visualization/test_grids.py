"""Choice of evenly spaced samples, and alignment of grid cells."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lit_inpaint.visualization.grids import GridRow, draw_grid, evenly_spaced


@pytest.mark.parametrize(("total", "count"), [(0, 8), (1, 8), (8, 8), (12, 4), (7, 3), (400, 8), (48, 8)])
def test_indices_are_distinct_and_evenly_spaced(total: int, count: int) -> None:
    indices = evenly_spaced(total, count)
    assert len(indices) == len(set(indices)) == min(count, total)
    assert all(0 <= index < total for index in indices)
    if total > 40:
        assert max(b - a for a, b in pairwise(indices)) <= 2 * total // count


def test_indices_cover_all_of_four_interleaved_masks() -> None:
    assert {index % 4 for index in evenly_spaced(400, 8)} == {0, 1, 2, 3}


def test_images_of_several_shapes_are_centered_in_their_columns() -> None:
    shapes = [(40, 160), (160, 40)]
    page = np.asarray(draw_grid([GridRow("", [torch.zeros(3, *shape)] * 2) for shape in shapes], ["", ""])).astype(int)
    black = (page == 0).all(axis=2)
    rows = [np.flatnonzero(row) for row in black if row.any()]
    wide, narrow = (next(row for row in rows if len(row) == 2 * width) for width in (160, 40))
    for number in range(2):
        middles = [row[number * len(row) // 2 : (number + 1) * len(row) // 2].mean() for row in (wide, narrow)]
        assert middles[0] == middles[1]


def test_long_headings_are_broken_into_lines() -> None:
    row = GridRow("", [torch.zeros(3, 8, 8)] * 3)
    short, long = (
        draw_grid([row], ["input", f"a{name}", "b"]) for name in ("", " network whose name is longer than its column is wide")
    )
    assert long.width == short.width
    assert short.height < long.height <= short.height + 2 * 17
    ink = [min(long.crop((170 + n * 166, 0, 330 + n * 166, long.height - 166)).convert("L").tobytes()) for n in range(3)]
    assert max(ink) < 100, "each heading is above its column"
    between = long.crop((330, 0, 336, long.height - 166)).convert("L").tobytes()
    assert min(between) > 200, "no heading runs into the next column"
