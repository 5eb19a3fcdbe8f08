"""Contact sheets of masks: masks, histogram, outlines and wrapped options."""

import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint.visualization.mask_rows import MaskRow, draw_mask_rows


def mask_row(count: int, options: str = "", side: int = 160) -> MaskRow:
    mask = torch.zeros(1, side, side)
    mask[:, :, side // 2 :] = 1  # up to the right edge
    return MaskRow("Halves", options, "mask ratio 50%", [mask] * count, [0.0, 0.5, 0.5, 1.0])


def pixels(page: Image.Image) -> np.ndarray:
    return np.asarray(page).astype(int)


def test_row_holds_masks_and_histogram_of_ratios() -> None:
    page = pixels(draw_mask_rows([mask_row(4)], "title"))
    white, black, blue = ((page == color).all(axis=2) for color in ((255, 255, 255), (0, 0, 0), (0x44, 0x77, 0xAA)))
    assert white.sum() == 4 * 160 * 80
    dense = black[:, : 4 * 166].sum(axis=1) == 4 * 80
    assert dense.sum() == 160  # pixel rows of the masks, four masks in each
    columns = blue.sum(axis=0).nonzero()[0]
    bars = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    heights = [int(blue[:, bar[1]].sum()) for bar in bars]
    assert len(heights) == 3  # 0, 50 and 100 %: the last bin includes a ratio of 1
    assert heights[1] >= 160 > heights[0]
    assert heights[0] == heights[2] == pytest.approx(80, abs=1)
    left, middle, right = (bar[0] for bar in bars)
    assert middle - left == pytest.approx(10 / 19 * (right - left), abs=1)
    assert (page[white.any(axis=1)][:, 0] == 0xF2).all()  # nothing crosses the left edge


def test_hole_at_the_edge_is_outlined() -> None:
    page = pixels(draw_mask_rows([mask_row(2)], ""))
    row = np.flatnonzero((page == 255).all(axis=2).sum(axis=1) == 160)[80]
    after = np.flatnonzero((page[row] == 255).all(axis=1))[79] + 1
    assert page[row, after].tolist() == [0x88] * 3


def test_long_options_wrap_without_loss() -> None:
    short, long = draw_mask_rows([mask_row(1, "word " * 3)], ""), draw_mask_rows([mask_row(1, "word " * 60)], "")
    assert short.width == long.width
    assert long.height >= short.height + 2 * 17
    dark = [(pixels(page).sum(axis=2) == 3 * 0x55).sum() for page in (short, long)]  # of the options and the chart's axis
    axis = (pixels(draw_mask_rows([mask_row(1)], "")).sum(axis=2) == 3 * 0x55).sum()
    assert dark[1] - axis == pytest.approx(20 * (dark[0] - axis), rel=0.1)


def test_rows_are_stacked() -> None:
    one, three = draw_mask_rows([mask_row(2)], "title"), draw_mask_rows([mask_row(2)] * 3, "title")
    assert three.width == one.width
    assert 2.5 * one.height < three.height < 3 * one.height
    assert (pixels(three) == 255).all(axis=2).sum() == 3 * (pixels(one) == 255).all(axis=2).sum()
