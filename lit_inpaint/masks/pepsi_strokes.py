"""PEPSI's free-form strokes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.masks.base import NumpyMaskSource, python_rng, require_range

_MAX_ANGLE = 3.14


@dataclass(frozen=True)
class PepsiStrokes(NumpyMaskSource):
    """Strokes of a round brush that turn by any angle at each vertex (PEPSI's public code, be4e487).

    A stroke starts at a uniform position and has one width. Its segments have uniform angles and lengths; vertices are clamped
    to the image. The defaults are those of training at 256x256: segments of 20-50 pixels, a brush of 15-30 pixels to either
    side, and a mean mask ratio of 45 %. For its samples the code draws `strokes=(3, 6)` of `pieces=(5, 10)` with a `radius` of
    15-20 pixels: 36 %. Lengths scale with the shorter side. One deviation: holes of the public code never reach the last row
    and column.

    Args:
        strokes: min and max number of strokes.
        pieces: min and max number of straight segments of a stroke.
        length: min and max length of a segment, as fractions of the shorter side.
        radius: min and max half width of the brush, as fractions of the shorter side.
    """

    strokes: tuple[int, int] = (3, 5)
    pieces: tuple[int, int] = (5, 15)
    length: tuple[float, float] = (20 / 256, 50 / 256)
    radius: tuple[float, float] = (15 / 256, 30 / 256)

    def __post_init__(self) -> None:
        require_range("PepsiStrokes.strokes", self.strokes, minimum=1)
        require_range("PepsiStrokes.pieces", self.pieces, minimum=1)
        require_range("PepsiStrokes.length", self.length, minimum=0)
        require_range("PepsiStrokes.radius", self.radius, minimum=0, maximum=1)

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole, never empty."""
        py_rng = python_rng(rng)
        height, width = size
        side = min(size)
        min_length, max_length = (round(fraction * side) for fraction in self.length)
        min_radius, max_radius = (round(fraction * side) for fraction in self.radius)
        mask = np.zeros(size, np.uint8)
        for _ in range(py_rng.randint(*self.strokes)):
            # As in the public code a stroke may start one pixel outside.
            x, y = py_rng.randint(0, width), py_rng.randint(0, height)
            points = [(x, y)]
            pieces, radius = py_rng.randint(*self.pieces), py_rng.randint(min_radius, max_radius)
            for _ in range(pieces):
                angle, length = py_rng.uniform(-_MAX_ANGLE, _MAX_ANGLE), py_rng.randint(min_length, max_length)
                x = min(max(int(x + length * math.sin(angle)), 0), width - 1)
                y = min(max(int(y + length * math.cos(angle)), 0), height - 1)
                points.append((x, y))
            cv2.polylines(mask, [np.array(points, np.int32)], False, 1, max(1, 2 * radius))
        return mask
