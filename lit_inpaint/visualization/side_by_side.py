"""Draw images of one size side by side at their own size, each with a line of text above it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from lit_inpaint.visualization.grids import BACKGROUND, FONT, GAP, HEADER_HEIGHT


def side_by_side(rows: Sequence[Sequence[tuple[str, Image.Image]]]) -> Image.Image:
    """Draw rows of (text, RGB image).

    Args:
        rows: at least one; the images of a row have one size.

    Returns:
        An RGB image.
    """
    widths = [sum(image.width + GAP for _, image in row) for row in rows]
    heights = [row[0][1].height + HEADER_HEIGHT for row in rows]
    page = Image.new("RGB", (max(widths) + GAP, sum(heights) + GAP), BACKGROUND)
    pen, top = ImageDraw.Draw(page), 0
    for row, height in zip(rows, heights, strict=True):
        left = GAP
        for text, image in row:
            pen.text((left + image.width // 2, top + HEADER_HEIGHT // 2), text, fill="black", font=FONT, anchor="mm")
            page.paste(image, (left, top + HEADER_HEIGHT))
            left += image.width + GAP
        top += height
    return page
