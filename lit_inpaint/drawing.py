"""Labelled grids of images as one PNG, drawn with Pillow alone, so that they come out the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

HOLE_COLOUR = (1.0, 1.0, 1.0)
_CELL = 160  # shown side of an image in pixels: small ones are enlarged to whole multiples, large ones shrunk
_GAP = 6
_LABEL_WIDTH = 170
_HEADER = 26
_FONT = ImageFont.load_default(size=14)


@dataclass(frozen=True)
class Row:
    """One row of a grid.

    Attributes:
        label: lines of text, separated by newlines.
        images: (3, H, W) or (1, H, W) tensors, clamped to [0, 1] when drawn.
    """

    label: str
    images: Sequence[Tensor]


def spread(total: int, count: int) -> list[int]:
    """Up to `count` of `total` places, evenly, and one further each time, to meet all masks where images come under several."""
    places = set[int]()
    for row in range(min(count, total)):
        place = (row * total // count + row) % total
        while place in places:
            place = (place + 1) % total
        places.add(place)
    return sorted(places)


def show_holes(image: Tensor, mask: Tensor) -> Tensor:
    """`image` (..., 3, H, W) with its holes painted white, as a person expects to see a masked input."""
    return torch.where(mask > 0.5, image.new_tensor(HOLE_COLOUR).view(3, 1, 1), image)


def draw_grid(rows: Sequence[Row], columns: Sequence[str], title: str = "") -> Image.Image:
    """Rows of equally many images under column headings, each row labelled at its left.

    Args:
        rows: at least one.
        columns: a heading for each image of a row.
        title: a line above all.

    Returns:
        An RGB picture.
    """
    cells = [[_picture(image) for image in row.images] for row in rows]
    width = max(cell.width for row in cells for cell in row)
    heights = [max(cell.height for cell in row) for row in cells]
    top = _HEADER * (2 if title else 1)
    page = Image.new(
        "RGB",
        (_LABEL_WIDTH + len(columns) * (width + _GAP) + _GAP, top + sum(heights) + _GAP * (len(heights) + 1)),
        "#f2f2f2",
    )
    pen = ImageDraw.Draw(page)
    if title:
        pen.text((_GAP, 5), title, fill="black", font=_FONT)
    for number, column in enumerate(columns):
        x = _LABEL_WIDTH + number * (width + _GAP) + width // 2
        pen.text((x, top - _HEADER // 2), column, fill="black", font=_FONT, anchor="mm")
    y = top + _GAP // 2
    for row, row_cells, height in zip(rows, cells, heights, strict=True):
        pen.multiline_text((_GAP, y + height // 2), _fit(row.label), fill="black", font=_FONT, anchor="lm")
        for number, cell in enumerate(row_cells):
            page.paste(cell, (_LABEL_WIDTH + number * (width + _GAP), y))
        y += height + _GAP
    return page


def _picture(image: Tensor) -> Image.Image:
    array = image.detach().float().clamp(0, 1).mul(255).round().byte().cpu().expand(3, -1, -1).permute(1, 2, 0).numpy()
    picture = Image.fromarray(array)
    factor = _CELL / max(picture.size)
    if factor >= 1:
        whole = max(1, round(factor))  # whole multiples keep each pixel a square
        return picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _fit(label: str) -> str:
    """Lines too long for the margin end in an ellipsis."""
    lines = []
    for line in label.split("\n"):
        while _FONT.getlength(line) > _LABEL_WIDTH - 2 * _GAP:
            line = line.removesuffix("…")[:-1] + "…"
        lines.append(line)
    return "\n".join(lines)
