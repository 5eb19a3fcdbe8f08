"""Draw labeled image grids with Pillow alone, so that they look the same on every machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from lit_inpaint.types import Batch

HOLE_COLOR = (1.0, 1.0, 1.0)
BATCH_COLUMNS = ("image", "mask", "masked input")
GAP = 6
"""Pixels between two images."""
HEADER_HEIGHT = 26
"""Pixels of a line of text above the images."""
LINE_HEIGHT = 17
"""Pixels from line to line of a text of several lines."""
FONT = ImageFont.load_default(size=14)
BACKGROUND = "#f2f2f2"

_SCORES_KEY = "lit_inpaint:rows"  # of the text chunk
_SCORES = {"name", "psnr", "mask_ratio"}
_CELL = 160  # displayed side of an image in pixels: small ones are enlarged to whole multiples, large ones reduced
_LABEL_WIDTH = 170


@dataclass(frozen=True)
class GridRow:
    """One row of a grid.

    Attributes:
        label: lines of text, separated by newlines.
        images: (3, H, W) or (1, H, W) tensors, clamped to [0, 1] when drawn.
    """

    label: str
    images: Sequence[Tensor]


def evenly_spaced(total: int, count: int) -> list[int]:
    """Choose up to `count` of `total` indices, evenly spaced.

    Each row adds one index of offset: where images come under several masks in turn, the rows cover all of the masks.
    """
    indices = set[int]()
    for row in range(min(count, total)):
        index = (row * total // count + row) % total
        while index in indices:
            index = (index + 1) % total
        indices.add(index)
    return sorted(indices)


def overlay_mask(image: Tensor, mask: Tensor) -> Tensor:
    """Paint the holes of `image` (..., 3, H, W) white, where `mask` (..., 1, H, W) is 1."""
    return torch.where(mask > 0.5, image.new_tensor(HOLE_COLOR).view(3, 1, 1), image)


def draw_batch(batch: Batch, max_rows: int, title: str) -> Image.Image:
    """Draw image, mask and masked input of the first `max_rows` samples of a batch, each row with its mask ratio."""
    samples = zip(batch["image"][:max_rows], batch["mask"][:max_rows], batch["name"][:max_rows], strict=True)
    rows = [
        GridRow(f"{name.rpartition('/')[2]}\nmask ratio {float(mask.mean()):.1%}", [image, mask, overlay_mask(image, mask)])
        for image, mask, name in samples
    ]
    return draw_grid(rows, BATCH_COLUMNS, title)


def draw_grid(rows: Sequence[GridRow], columns: Sequence[str], title: str = "") -> Image.Image:
    """Draw rows of images under column headings, each row with its label at the left.

    Args:
        rows: at least one; all with one image for each column.
        columns: a heading for each image of a row.
        title: a line above all rows.

    Returns:
        An RGB image.
    """
    cells = [[to_pil(image) for image in row.images] for row in rows]
    width = max(cell.width for row in cells for cell in row)
    heights = [max(cell.height for cell in row) for row in cells]
    headings = [wrap(column, width) for column in columns]  # long names would run into each other
    heading_height = HEADER_HEIGHT + LINE_HEIGHT * (max(map(len, headings)) - 1)
    top = heading_height + (HEADER_HEIGHT if title else 0)
    page = Image.new(
        "RGB",
        (_LABEL_WIDTH + len(columns) * (width + GAP) + GAP, top + sum(heights) + GAP * (len(heights) + 1)),
        BACKGROUND,
    )
    pen = ImageDraw.Draw(page)
    if title:
        pen.text((GAP, 5), title, fill="black", font=FONT)
    for number, lines in enumerate(headings):
        x = _LABEL_WIDTH + number * (width + GAP) + width // 2
        for line, text in enumerate(reversed(lines)):
            pen.text((x, top - HEADER_HEIGHT // 2 - line * LINE_HEIGHT), text, fill="black", font=FONT, anchor="mm")
    y = top + GAP // 2
    for row, row_cells, height in zip(rows, cells, heights, strict=True):
        label = "\n".join(shorten(line, _LABEL_WIDTH - 2 * GAP) for line in row.label.split("\n"))
        pen.multiline_text((GAP, y + height // 2), label, fill="black", font=FONT, anchor="lm")
        for number, cell in enumerate(row_cells):
            page.paste(cell, (_LABEL_WIDTH + number * (width + GAP) + (width - cell.width) // 2, y))
        y += height + GAP
    return page


def save_grid(grid: Image.Image, path: Path, scores: Sequence[Mapping[str, str | float]]) -> None:
    """Write a grid as PNG, with the scores of each row in a text chunk: an image drawn smaller has other scores."""
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text(_SCORES_KEY, json.dumps([dict(row) for row in scores]))
    grid.save(path, format="PNG", pnginfo=chunk)


def read_scores(path: Path) -> list[dict[str, str | float]]:
    """Read the scores that `save_grid` wrote for each row; empty for any other image."""
    with suppress(Exception), Image.open(path, formats=("PNG",)) as image:  # a broken file may fail with any exception
        rows: list[dict[str, Any]] = list(json.loads(image.info[_SCORES_KEY]))
        if all(row.keys() >= _SCORES for row in rows):
            return [{key: str(value) if key == "name" else float(value) for key, value in row.items()} for row in rows]
    return []


def to_pil(image: Tensor) -> Image.Image:
    """Convert a (3, H, W) or (1, H, W) tensor to an RGB image at its displayed size."""
    array = image.detach().float().clamp(0, 1).mul(255).round().byte().cpu().expand(3, -1, -1).permute(1, 2, 0).numpy()
    converted = Image.fromarray(array)
    factor = _CELL / max(converted.size)
    if factor >= 1:
        whole = max(1, round(factor))  # a whole multiple keeps each pixel square
        return converted.resize((converted.width * whole, converted.height * whole), Image.Resampling.NEAREST)
    size = (max(1, round(converted.width * factor)), max(1, round(converted.height * factor)))
    return converted.resize(size, Image.Resampling.LANCZOS)


def shorten(line: str, width: int) -> str:
    """Cut a line of text to `width` pixels; a cut line ends in an ellipsis."""
    while FONT.getlength(line) > width:
        line = line.removesuffix("…")[:-1] + "…"
    return line


def wrap(text: str, width: int) -> list[str]:
    """Break text at spaces into lines of at most `width` pixels; a longer word is shortened, on a line of its own."""
    lines = list[str]()
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and FONT.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(shorten(word, width))
    return lines
