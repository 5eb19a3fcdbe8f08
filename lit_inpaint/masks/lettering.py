"""Lines of text, such as captions and watermarks."""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, require_range

_CHARACTERS = string.ascii_letters + string.digits + "   .,!?-&@#"
_MIN_FONT_SIZE = 6
_THRESHOLD = 96  # of 255: pixels that the glyphs cover to about a third are holes too


@dataclass(frozen=True)
class Lettering(NumpyMaskSource):
    """Random lines of text in Pillow's own font, slightly rotated, as captions and watermarks have them.

    Args:
        lines: min and max number of lines.
        characters: min and max number of characters of a line.
        height: min and max font size, as fractions of the image's shorter side, at least 6 pixels.
        angle: maximum rotation of a line to either side, in degrees.
        stroke: min and max thickness added around the glyphs, as fractions of the font size.

    Raises:
        UserError: a value is out of range.
    """

    lines: tuple[int, int] = (1, 6)
    characters: tuple[int, int] = (2, 24)
    height: tuple[float, float] = (0.08, 0.3)
    angle: float = 30.0
    stroke: tuple[float, float] = (0.0, 0.08)

    def __post_init__(self) -> None:
        require_range("Lettering.lines", self.lines, minimum=1)
        require_range("Lettering.characters", self.characters, minimum=1)
        require_range("Lettering.height", self.height, minimum=0, maximum=1)
        require_range("Lettering.stroke", self.stroke, minimum=0, maximum=1)
        if not 0 <= self.angle <= 180:
            raise UserError(f"Lettering.angle is {self.angle}; expected degrees within [0, 180]")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole, never empty."""
        py_rng = python_rng(rng)
        height, width = size
        mask = np.zeros(size, bool)
        for _ in range(py_rng.randint(*self.lines)):
            font_size = max(_MIN_FONT_SIZE, round(py_rng.uniform(*self.height) * min(size)))
            text = "".join(py_rng.choices(_CHARACTERS, k=py_rng.randint(*self.characters)))
            canvas = Image.new("L", (width, height))
            ImageDraw.Draw(canvas).text(
                (py_rng.uniform(-0.2, 0.8) * width, py_rng.uniform(0, 1) * height),
                text,
                fill=255,
                font=_font(font_size),
                anchor="lm",
                stroke_width=round(py_rng.uniform(*self.stroke) * font_size),
            )
            angle = py_rng.uniform(-self.angle, self.angle)
            center = (py_rng.uniform(0, width), py_rng.uniform(0, height))
            mask |= np.asarray(canvas.rotate(angle, Image.Resampling.BILINEAR, center=center)) >= _THRESHOLD
        if not mask.any():  # all text outside the image, or spaces
            mask[py_rng.randrange(height), py_rng.randrange(width)] = True
        return mask.astype(np.uint8)


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
