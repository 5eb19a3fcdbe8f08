"""Brush strokes of DeepFill v2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lit_inpaint.masks.base import MaskSource, dice, require_range
from lit_inpaint.types import UserError

_TURN = 2 * math.pi / 5
_TURN_SPREAD = 2 * math.pi / 15


@dataclass(frozen=True)
class FreeForm(MaskSource):
    """Zigzag strokes of a round brush (Yu et al., "Free-Form Image Inpainting with Gated Convolution", 2019).

    The numbers are those of the public code (JiahuiYu/generative_inpainting, v2): each stroke starts anywhere, turns by
    about 72 degrees to alternating sides, and walks steps of a normally distributed length with a relative deviation of
    one half, inside the image. All lengths scale with the image; at 256x256 the brush is 12-39 pixels wide, the mean step
    45 pixels, and on average about 15 % of the image is lost. One deviation: the public code means to flip its masks but
    drops the result, so its strokes all run to one side; here each mask is mirrored at random in both directions.

    Args:
        strokes: fewest and most strokes.
        steps: fewest and most straight pieces of a stroke.
        width: narrowest and widest brush, as shares of the image's shorter side; one width per stroke, at least 1 pixel.
        step: mean length of a straight piece, as a share of the image's diagonal.
    """

    strokes: tuple[int, int] = (1, 3)
    steps: tuple[int, int] = (4, 11)
    width: tuple[float, float] = (12 / 256, 39 / 256)
    step: float = 1 / 8

    def __post_init__(self) -> None:
        require_range("FreeForm.strokes", self.strokes, least=1)
        require_range("FreeForm.steps", self.steps, least=1)
        require_range("FreeForm.width", self.width, least=0, most=1)
        if not 0 < self.step <= 1:
            raise UserError(f"FreeForm.step is {self.step}; it takes a share of the diagonal in (0, 1]")

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """One mask (1, H, W), 1 = hole, never empty."""
        chance = dice(rng)
        height, width = size
        canvas = Image.new("L", (width, height))
        brush = ImageDraw.Draw(canvas)
        thinnest, widest = (max(1, round(share * min(size))) for share in self.width)
        for _ in range(chance.randint(*self.strokes)):
            _paint(brush, self._walk(size, chance), chance.randint(thinnest, widest))
        mask = torch.from_numpy(np.array(canvas)).float()[None]
        return mask.flip([axis for axis in (1, 2) if chance.random() < 0.5])

    def _walk(self, size: tuple[int, int], chance: Random) -> list[tuple[int, int]]:
        """Vertices (x, y) of one stroke: whole pixels, and each step starts from one, as in the public code."""
        height, width = size
        mean = self.step * math.hypot(height, width)
        gentlest = _TURN - chance.uniform(0, _TURN_SPREAD)
        sharpest = _TURN + chance.uniform(0, _TURN_SPREAD)
        x, y = chance.randrange(width), chance.randrange(height)
        points = [(x, y)]
        for number in range(chance.randint(*self.steps)):
            angle = chance.uniform(gentlest, sharpest) * (-1 if number % 2 == 0 else 1)
            length = min(max(chance.gauss(mean, mean / 2), 0.0), 2 * mean)
            x = int(min(max(x + length * math.cos(angle), 0.0), width))
            y = int(min(max(y + length * math.sin(angle), 0.0), height))
            points.append((x, y))
        return points


def _paint(brush: ImageDraw.ImageDraw, points: list[tuple[int, int]], width: int) -> None:
    """Draw one stroke in ones. Pillow's lines are as wide as asked, which OpenCV's are not: 1 or 2 pixels wider."""
    brush.line(points, fill=1, width=width)
    for x, y in points:  # round corners and ends
        left, top = x - width // 2, y - width // 2
        brush.ellipse((left, top, left + width - 1, top + width - 1), fill=1)
