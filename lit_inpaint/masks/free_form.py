"""Brush strokes of DeepFill v2."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, randint, require_range

_MEAN_ANGLE = 2 * math.pi / 5
_ANGLE_RANGE = 2 * math.pi / 15
_FLIP_CODES = {(True, False): 0, (False, True): 1, (True, True): -1}  # (vertical, horizontal) to OpenCV's code


@dataclass(frozen=True)
class FreeForm(NumpyMaskSource):
    """Zigzag strokes of a round brush (Yu et al., "Free-Form Image Inpainting with Gated Convolution", 2019).

    The numbers are those of the public code (JiahuiYu/generative_inpainting, v2). Each stroke starts at a uniform position and
    turns by about 72 degrees to alternating sides. The lengths of its segments are normally distributed, with a relative
    standard deviation of 0.5; vertices are clamped to the image. Lengths scale with the image. At 256x256 the brush is 12-39
    pixels wide, the mean segment 45 pixels long, and the mean mask ratio about 15 %.

    One deviation: the public code computes flipped masks but discards them, so its strokes all lean to one side. Here each mask
    is flipped at random in both directions.

    Args:
        strokes: min and max number of strokes.
        steps: min and max number of straight segments of a stroke.
        width: min and max width of a stroke, as fractions of the image's shorter side, at least 1 pixel.
        step: mean length of a segment, as a fraction of the image's diagonal.
    """

    strokes: tuple[int, int] = (1, 3)
    steps: tuple[int, int] = (4, 11)
    width: tuple[float, float] = (12 / 256, 39 / 256)
    step: float = 1 / 8

    def __post_init__(self) -> None:
        require_range("FreeForm.strokes", self.strokes, minimum=1)
        require_range("FreeForm.steps", self.steps, minimum=1)
        require_range("FreeForm.width", self.width, minimum=0, maximum=1)
        if not 0 < self.step <= 1:
            raise UserError(f"FreeForm.step is {self.step}; expected a fraction of the diagonal in (0, 1]")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole, never empty."""
        py_rng = python_rng(rng)
        canvas = _canvas(size)
        side = min(size)
        min_width, max_width = max(1, round(self.width[0] * side)), max(1, round(self.width[1] * side))
        for _ in range(randint(py_rng, *self.strokes)):
            _draw_stroke(canvas.brush, self._vertices(size, py_rng), randint(py_rng, min_width, max_width))
        vertical, horizontal = py_rng.random() < 0.5, py_rng.random() < 0.5
        if vertical or horizontal:
            return np.asarray(cv2.flip(canvas.pixels, _FLIP_CODES[vertical, horizontal]), np.uint8)
        return canvas.pixels.copy()

    def _vertices(self, size: tuple[int, int], py_rng: Random) -> list[tuple[int, int]]:
        """Draw the vertices (x, y) of one stroke in whole pixels; each segment starts at one, as in the public code."""
        height, width = size
        mean = self.step * math.hypot(height, width)
        min_angle = _MEAN_ANGLE - py_rng.uniform(0, _ANGLE_RANGE)
        angle_range = _MEAN_ANGLE + py_rng.uniform(0, _ANGLE_RANGE) - min_angle
        x, y = randint(py_rng, 0, width - 1), randint(py_rng, 0, height - 1)
        points = [(x, y)]
        sign, longest, deviation = -1, 2 * mean, mean / 2
        draw, gauss, cos, sin = py_rng.random, py_rng.gauss, math.cos, math.sin
        for _ in range(randint(py_rng, *self.steps)):
            angle = (min_angle + angle_range * draw()) * sign  # the formula of Random.uniform, without the call
            length = gauss(mean, deviation)
            length = 0.0 if length < 0 else longest if length > longest else length
            # Truncation rounds toward 0, so truncating before clamping gives the same vertex.
            x, y = int(x + length * cos(angle)), int(y + length * sin(angle))
            x = 0 if x < 0 else width if x > width else x
            y = 0 if y < 0 else height if y > height else y
            points.append((x, y))
            sign = -sign
        return points


class _Canvas:
    """An array that Pillow draws into."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.pixels = np.zeros(size, np.uint8)
        canvas = Image.frombuffer("L", size[::-1], self.pixels, "raw", "L", 0, 1)
        canvas.readonly = 0  # so that Pillow draws into `pixels`, not into a copy
        self.brush = ImageDraw.Draw(canvas)


_canvases = threading.local()


def _canvas(size: tuple[int, int]) -> _Canvas:
    """Return this thread's canvas, emptied; making a new one takes as long as drawing half a stroke."""
    kept: _Canvas | None = getattr(_canvases, "kept", None)
    if kept is None or kept.pixels.shape != size:
        kept = _canvases.kept = _Canvas(size)
    kept.pixels.fill(0)
    return kept


def _draw_stroke(brush: ImageDraw.ImageDraw, points: list[tuple[int, int]], width: int) -> None:
    """Draw one stroke of ones. Pillow's lines have exactly `width` pixels; OpenCV's are 1 or 2 pixels wider."""
    brush.line(points, fill=1, width=width)
    ellipse = brush.draw.draw_ellipse  # without the lookup of the color, which takes longer than the drawing
    to_left, to_right = width // 2, width - 1 - width // 2
    for x, y in points:  # round corners and ends
        ellipse((x - to_left, y - to_left, x + to_right, y + to_right), 1, 1)
