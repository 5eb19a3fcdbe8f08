"""Which samples a grid shows, and contact sheets of masks."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint.visualization.grids import GridRow, MaskRow, draw_grid, draw_mask_rows, evenly_spaced


@pytest.mark.parametrize(("total", "count"), [(0, 8), (1, 8), (8, 8), (12, 4), (7, 3), (400, 8), (48, 8)])
def test_as_many_places_as_asked_for_evenly_and_once(total: int, count: int) -> None:
    places = evenly_spaced(total, count)
    assert len(places) == len(set(places)) == min(count, total)
    assert all(0 <= place < total for place in places)
    if total > 40:
        assert max(b - a for a, b in pairwise(places)) <= 2 * total // count


def test_all_of_four_masks_show() -> None:
    assert {place % 4 for place in evenly_spaced(400, 8)} == {0, 1, 2, 3}


def strip(count: int, options: str = "", side: int = 160) -> MaskRow:
    mask = torch.zeros(1, side, side)
    mask[:, :, side // 2 :] = 1  # up to the right edge
    return MaskRow("Halves", options, "hole 50%", [mask] * count, [0.0, 0.5, 0.5, 1.0])


def pixels(page: Image.Image) -> np.ndarray:
    return np.asarray(page).astype(int)


def test_a_strip_shows_its_masks_and_a_histogram_of_their_shares() -> None:
    page = pixels(draw_mask_rows([strip(4)], "title"))
    white, black, blue = ((page == colour).all(axis=2) for colour in ((255, 255, 255), (0, 0, 0), (0x44, 0x77, 0xAA)))
    assert white.sum() == 4 * 160 * 80
    dense = black[:, : 4 * 166].sum(axis=1) == 4 * 80
    assert dense.sum() == 160  # rows of the masks, four in each
    columns = blue.sum(axis=0).nonzero()[0]
    bars = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    heights = [int(blue[:, bar[1]].sum()) for bar in bars]
    assert len(heights) == 3  # 0, 50 and 100 %: the last bin takes a share of 1
    assert heights[1] >= 160 > heights[0]
    assert heights[0] == heights[2] == pytest.approx(80, abs=1)
    left, middle, right = (bar[0] for bar in bars)
    assert middle - left == pytest.approx(10 / 19 * (right - left), abs=1)
    assert (page[white.any(axis=1)][:, 0] == 0xF2).all()  # nothing runs over the edge


def test_a_hole_at_the_edge_is_outlined() -> None:
    page = pixels(draw_mask_rows([strip(2)], ""))
    row = np.flatnonzero((page == 255).all(axis=2).sum(axis=1) == 160)[80]
    after = np.flatnonzero((page[row] == 255).all(axis=1))[79] + 1
    assert page[row, after].tolist() == [0x88] * 3


def test_long_options_take_more_lines_and_none_is_cut() -> None:
    short, long = draw_mask_rows([strip(1, "word " * 3)], ""), draw_mask_rows([strip(1, "word " * 60)], "")
    assert short.width == long.width
    assert long.height >= short.height + 2 * 17
    dark = [(pixels(page).sum(axis=2) == 3 * 0x55).sum() for page in (short, long)]  # of the options and the chart's axis
    axis = (pixels(draw_mask_rows([strip(1)], "")).sum(axis=2) == 3 * 0x55).sum()
    assert dark[1] - axis == pytest.approx(20 * (dark[0] - axis), rel=0.1)


def test_strips_stand_below_each_other() -> None:
    one, three = draw_mask_rows([strip(2)], "title"), draw_mask_rows([strip(2)] * 3, "title")
    assert three.width == one.width
    assert 2.5 * one.height < three.height < 3 * one.height
    assert (pixels(three) == 255).all(axis=2).sum() == 3 * (pixels(one) == 255).all(axis=2).sum()


def test_pictures_of_several_shapes_stand_under_their_headings() -> None:
    shapes = [(40, 160), (160, 40)]
    page = pixels(draw_grid([GridRow("", [torch.zeros(3, *shape)] * 2) for shape in shapes], ["", ""]))
    black = (page == 0).all(axis=2)
    rows = [np.flatnonzero(row) for row in black if row.any()]
    wide, narrow = (next(row for row in rows if len(row) == 2 * width) for width in (160, 40))
    for number in range(2):
        middles = [row[number * len(row) // 2 : (number + 1) * len(row) // 2].mean() for row in (wide, narrow)]
        assert middles[0] == middles[1]
