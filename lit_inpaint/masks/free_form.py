"""Brush strokes of DeepFill v2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, require_range

_TURN = 2 * math.pi / 5
_TURN_SPREAD = 2 * math.pi / 15
_FLIPS = {(True, False): 0, (False, True): 1, (True, True): -1}  # OpenCV's codes


@dataclass(frozen=True)
class FreeForm(NumpyMaskSource):
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

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole, never empty."""
        chance = python_rng(rng)
        height, width = size
        pixels = np.zeros(size, np.uint8)
        canvas = Image.frombuffer("L", (width, height), pixels, "raw", "L", 0, 1)
        canvas.readonly = 0  # so that Pillow draws into `sample_uint8`, not into a copy
        brush = ImageDraw.Draw(canvas)
        thinnest, widest = (max(1, round(share * min(size))) for share in self.width)
        for _ in range(chance.randint(*self.strokes)):
            _paint(brush, self._walk(size, chance), chance.randint(thinnest, widest))
        upside_down, mirrored = chance.random() < 0.5, chance.random() < 0.5
        if upside_down or mirrored:
            return np.asarray(cv2.flip(pixels, _FLIPS[upside_down, mirrored]), np.uint8)
        return pixels

    def _walk(self, size: tuple[int, int], chance: Random) -> list[tuple[int, int]]:
        """Vertices (x, y) of one stroke: whole pixels, and each step starts from one, as in the public code."""
        height, width = size
        mean = self.step * math.hypot(height, width)
        gentlest = _TURN - chance.uniform(0, _TURN_SPREAD)
        turns = _TURN + chance.uniform(0, _TURN_SPREAD) - gentlest
        x, y = chance.randrange(width), chance.randrange(height)
        points = [(x, y)]
        sign = -1
        for _ in range(chance.randint(*self.steps)):
            angle = (gentlest + turns * chance.random()) * sign  # chance.uniform's formula, without the call
            length = chance.gauss(mean, mean / 2)
            length = 0.0 if length < 0 else 2 * mean if length > 2 * mean else length
            # Truncation rounds towards 0, so a vertex may be truncated before it is moved back inside.
            x, y = int(x + length * math.cos(angle)), int(y + length * math.sin(angle))
            x = 0 if x < 0 else width if x > width else x
            y = 0 if y < 0 else height if y > height else y
            points.append((x, y))
            sign = -sign
        return points


def _paint(brush: ImageDraw.ImageDraw, points: list[tuple[int, int]], width: int) -> None:
    """Draw one stroke in ones. Pillow's lines are as wide as asked, which OpenCV's are not: 1 or 2 pixels wider."""
    brush.line(points, fill=1, width=width)
    for x, y in points:  # round corners and ends
        left, top = x - width // 2, y - width // 2
        brush.ellipse((left, top, left + width - 1, top + width - 1), fill=1)
