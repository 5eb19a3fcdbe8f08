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
_NAME_FONT = ImageFont.load_default(size=18)
_PAGE = "#f2f2f2"
_DIM = "#555555"
_BAR = "#4477aa"
_CHART_WIDTH = 200
_CHART_BINS = 20
_LEAST_STRIP = 560  # width in pixels that the text above a strip of few masks has at least


@dataclass(frozen=True)
class GridRow:
    """One row of a grid.

    Attributes:
        label: lines of text, separated by newlines.
        images: (3, H, W) or (1, H, W) tensors, clamped to [0, 1] when drawn.
    """

    label: str
    images: Sequence[Tensor]


@dataclass(frozen=True)
class MaskRow:
    """The masks of one source: a name, what there is to say, the masks, and how much of each of many is hole.

    Attributes:
        name: in large letters.
        options: in small letters beside and below it, wrapped at spaces.
        figures: at the right, in the name's line.
        masks: (1, H, W) tensors, 1 = hole, of the same size.
        shares: hole shares in [0, 1], for the histogram at the right end.
    """

    name: str
    options: str
    figures: str
    masks: Sequence[Tensor]
    shares: Sequence[float]


def evenly_spaced(total: int, count: int) -> list[int]:
    """Up to `count` of `total` places, evenly, and one further each time, to meet all masks where images come under several."""
    places = set[int]()
    for row in range(min(count, total)):
        place = (row * total // count + row) % total
        while place in places:
            place = (place + 1) % total
        places.add(place)
    return sorted(places)


def overlay_mask(image: Tensor, mask: Tensor) -> Tensor:
    """`image` (..., 3, H, W) with its holes painted white, as a person expects to see a masked input."""
    return torch.where(mask > 0.5, image.new_tensor(HOLE_COLOUR).view(3, 1, 1), image)


def draw_grid(rows: Sequence[GridRow], columns: Sequence[str], title: str = "") -> Image.Image:
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
        _PAGE,
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
            page.paste(cell, (_LABEL_WIDTH + number * (width + _GAP) + (width - cell.width) // 2, y))
        y += height + _GAP
    return page


def draw_mask_rows(strips: Sequence[MaskRow], title: str) -> Image.Image:
    """A contact sheet of masks: a strip for each source, with its name above it and a histogram of hole shares at its end.

    Args:
        strips: at least one, each with equally many masks.
        title: a line above all.

    Returns:
        An RGB picture.
    """
    cells = [[_picture(mask) for mask in strip.masks] for strip in strips]
    side, height = cells[0][0].size
    masks_width = max(_LEAST_STRIP, len(cells[0]) * (side + _GAP))
    width = 2 * _GAP + masks_width + _CHART_WIDTH
    texts = [_wrapped(strip.options, width - 3 * _GAP) for strip in strips]
    heads = [_HEADER + 17 * len(lines) + _GAP for lines in texts]
    page = Image.new("RGB", (width, _HEADER + sum(heads) + len(strips) * (height + _HEADER + 2 * _GAP)), _PAGE)
    pen = ImageDraw.Draw(page)
    pen.text((_GAP, 5), title, fill=_DIM, font=_FONT)
    y = _HEADER
    for strip, row, lines, head in zip(strips, cells, texts, heads, strict=True):
        pen.line((_GAP, y, width - _GAP, y), fill="#cccccc")
        pen.text((_GAP, y + _HEADER // 2 + 2), strip.name, fill="black", font=_NAME_FONT, anchor="lm")
        pen.text((width - _GAP, y + _HEADER // 2 + 2), strip.figures, fill="black", font=_FONT, anchor="rm")
        for number, line in enumerate(lines):
            pen.text((_GAP, y + _HEADER + 17 * number), line, fill=_DIM, font=_FONT)
        y += head
        for number, cell in enumerate(row):
            x = _GAP + number * (side + _GAP)
            page.paste(cell, (x, y))
            pen.rectangle((x - 1, y - 1, x + side, y + height), outline="#888888")  # else a hole at the edge joins the page
        _chart(pen, strip.shares, (2 * _GAP + masks_width, y), height)
        y += height + _HEADER + 2 * _GAP
    return page


def _chart(pen: ImageDraw.ImageDraw, shares: Sequence[float], corner: tuple[int, int], height: int) -> None:
    """A histogram of hole shares from 0 to 100 %, as high as the masks beside it."""
    left, top = corner
    bin_width = (_CHART_WIDTH - 4 * _GAP) // _CHART_BINS
    counts = [0] * _CHART_BINS
    for share in shares:
        counts[min(int(share * _CHART_BINS), _CHART_BINS - 1)] += 1
    left += (_CHART_WIDTH - _CHART_BINS * bin_width) // 2 - _GAP
    for place, count in enumerate(counts):
        if count:
            x, tall = left + place * bin_width, max(1, count * height // max(counts))
            pen.rectangle((x, top + height - tall, x + bin_width - 2, top + height), fill=_BAR)
    right, bottom = left + _CHART_BINS * bin_width, top + height
    pen.line((left, bottom, right, bottom), fill=_DIM)
    for x, text in ((left, "0"), ((left + right) // 2, "50"), (right, "100 %")):
        pen.line((x, bottom, x, bottom + 4), fill=_DIM)
        pen.text((x, bottom + 6), text, fill=_DIM, font=_FONT, anchor="ma")


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces; a longer word stands alone, shortened."""
    lines = list[str]()
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _FONT.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_fit(word, width))
    return lines


def _picture(image: Tensor) -> Image.Image:
    array = image.detach().float().clamp(0, 1).mul(255).round().byte().cpu().expand(3, -1, -1).permute(1, 2, 0).numpy()
    picture = Image.fromarray(array)
    factor = _CELL / max(picture.size)
    if factor >= 1:
        whole = max(1, round(factor))  # whole multiples keep each pixel a square
        return picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _fit(label: str, width: int = _LABEL_WIDTH - 2 * _GAP) -> str:
    """Lines too long for the margin, or `width` pixels, end in an ellipsis."""
    lines = []
    for line in label.split("\n"):
        while _FONT.getlength(line) > width:
            line = line.removesuffix("…")[:-1] + "…"
        lines.append(line)
    return "\n".join(lines)
