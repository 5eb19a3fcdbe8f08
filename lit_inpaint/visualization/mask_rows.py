"""Draw a contact sheet of masks: per mask source a row of samples and a histogram of mask ratios."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lit_inpaint.visualization.grids import BACKGROUND, FONT, GAP, HEADER_HEIGHT, LINE_HEIGHT, to_pil, wrap

Source = Callable[[tuple[int, int], torch.Generator], Tensor]
"""Draws a mask (1, H, W), 1 = hole, of size (H, W): any `lit_inpaint.masks.MaskSource`."""

_NAME_FONT = ImageFont.load_default(size=18)
_DIM = "#555555"
_BAR = "#4477aa"
_CHART_WIDTH = 200
_CHART_BINS = 20
_MIN_MASKS_WIDTH = 560  # pixels, so that the text above a row of few masks has room


@dataclass(frozen=True)
class MaskRow:
    """Sample masks of one source, and the mask ratios of many of its masks.

    Attributes:
        name: name of the source, in large letters.
        options: options of the source, in small letters below the name, wrapped at spaces.
        summary: statistics, at the right of the name's line.
        masks: (1, H, W) tensors of one size, 1 = hole.
        ratios: mask ratios in [0, 1], for the histogram at the right end.
    """

    name: str
    options: str
    summary: str
    masks: Sequence[Tensor]
    ratios: Sequence[float]


def sample_mask_row(source: Source, size: int, count: int, num_ratios: int, seed: int) -> MaskRow:
    """Draw masks from a source.

    Args:
        source: the mask source.
        size: side of the masks in pixels.
        count: number of masks to show.
        num_ratios: number of masks whose mask ratios are counted; they start with the shown ones.
        seed: seed of the generator.
    """
    rng = torch.Generator().manual_seed(seed)
    shown, ratios = list[Tensor](), list[float]()
    for number in range(max(count, num_ratios)):
        mask = source((size, size), rng)
        if number < count:
            shown.append(mask)
        if number < num_ratios:
            ratios.append(float(mask.mean(dtype=torch.float64)))
    mean, std = statistics.fmean(ratios), statistics.pstdev(ratios)
    summary = f"mask ratio {mean:.1%} ± {std:.1%}, from {min(ratios):.1%} to {max(ratios):.1%}"
    return MaskRow(type(source).__name__, _format_options(source), summary, shown, ratios)


def draw_mask_rows(rows: Sequence[MaskRow], title: str) -> Image.Image:
    """Draw a contact sheet: each source's name and options, its masks, and a histogram of its mask ratios.

    Args:
        rows: at least one, all with the same number of masks.
        title: a line above all rows.

    Returns:
        An RGB image.
    """
    cells = [[to_pil(mask) for mask in row.masks] for row in rows]
    side, height = cells[0][0].size
    masks_width = max(_MIN_MASKS_WIDTH, len(cells[0]) * (side + GAP))
    width = 2 * GAP + masks_width + _CHART_WIDTH
    texts = [wrap(row.options, width - 3 * GAP) for row in rows]
    heads = [HEADER_HEIGHT + LINE_HEIGHT * len(lines) + GAP for lines in texts]
    page = Image.new("RGB", (width, HEADER_HEIGHT + sum(heads) + len(rows) * (height + HEADER_HEIGHT + 2 * GAP)), BACKGROUND)
    pen = ImageDraw.Draw(page)
    pen.text((GAP, 5), title, fill=_DIM, font=FONT)
    y = HEADER_HEIGHT
    for row, row_cells, lines, head in zip(rows, cells, texts, heads, strict=True):
        pen.line((GAP, y, width - GAP, y), fill="#cccccc")
        pen.text((GAP, y + HEADER_HEIGHT // 2 + 2), row.name, fill="black", font=_NAME_FONT, anchor="lm")
        pen.text((width - GAP, y + HEADER_HEIGHT // 2 + 2), row.summary, fill="black", font=FONT, anchor="rm")
        for number, line in enumerate(lines):
            pen.text((GAP, y + HEADER_HEIGHT + LINE_HEIGHT * number), line, fill=_DIM, font=FONT)
        y += head
        for number, cell in enumerate(row_cells):
            x = GAP + number * (side + GAP)
            page.paste(cell, (x, y))
            pen.rectangle((x - 1, y - 1, x + side, y + height), outline="#888888")  # separates a hole at the edge from the page
        _draw_histogram(pen, row.ratios, (2 * GAP + masks_width, y), height)
        y += height + HEADER_HEIGHT + 2 * GAP
    return page


def _draw_histogram(pen: ImageDraw.ImageDraw, ratios: Sequence[float], corner: tuple[int, int], height: int) -> None:
    """Draw a histogram of mask ratios from 0 to 100 %, as high as the masks beside it."""
    left, top = corner
    bin_width = (_CHART_WIDTH - 4 * GAP) // _CHART_BINS
    counts = [0] * _CHART_BINS
    for ratio in ratios:
        counts[min(int(ratio * _CHART_BINS), _CHART_BINS - 1)] += 1
    left += (_CHART_WIDTH - _CHART_BINS * bin_width) // 2 - GAP
    for number, count in enumerate(counts):
        if count:
            x, bar_height = left + number * bin_width, max(1, count * height // max(counts))
            pen.rectangle((x, top + height - bar_height, x + bin_width - 2, top + height), fill=_BAR)
    right, bottom = left + _CHART_BINS * bin_width, top + height
    pen.line((left, bottom, right, bottom), fill=_DIM)
    for x, text in ((left, "0"), ((left + right) // 2, "50"), (right, "100 %")):
        pen.line((x, bottom, x, bottom + 4), fill=_DIM)
        pen.text((x, bottom + 6), text, fill=_DIM, font=FONT, anchor="ma")


def _format_options(value: object, skip_defaults: bool = False) -> str:
    """Write the options of a source as Python arguments, with rounded floats."""
    if not dataclasses.is_dataclass(value):
        return ""
    options = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
    return ", ".join(
        f"{field.name}={_format_value(option)}" for field, option in options if not skip_defaults or option != field.default
    )


def _format_value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, tuple):
        inside = ", ".join(map(_format_value, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}({_format_options(value, skip_defaults=True)})"
    return repr(value)
