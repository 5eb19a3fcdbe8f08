"""PEPSI's free-form strokes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.masks.base import NumpyMaskSource, python_rng, require_range

_LARGEST_ANGLE = 3.14


@dataclass(frozen=True)
class PepsiStrokes(NumpyMaskSource):
    """Strokes of a round brush that turn anywhere at each vertex (PEPSI's public code, be4e487).

    A stroke starts anywhere and has one brush; its pieces have uniform angles and lengths, and vertices are moved back into
    the image. The defaults are those of training at 256x256: pieces of 20-50 pixels, a brush of 15-30 pixels to either side,
    and 45 % of the image lost. For its samples the code draws `strokes=(3, 6)` of `pieces=(5, 10)` with a `radius` of 15-20
    pixels: 36 %. All lengths scale with the shorter side. One deviation: the public code never loses the last row and column
    of an image.

    Args:
        strokes: fewest and most strokes.
        pieces: fewest and most straight pieces of a stroke.
        length: shortest and longest piece, as shares of the shorter side.
        radius: smallest and largest half width of the brush, as shares of the shorter side.
    """

    strokes: tuple[int, int] = (3, 5)
    pieces: tuple[int, int] = (5, 15)
    length: tuple[float, float] = (20 / 256, 50 / 256)
    radius: tuple[float, float] = (15 / 256, 30 / 256)

    def __post_init__(self) -> None:
        require_range("PepsiStrokes.strokes", self.strokes, least=1)
        require_range("PepsiStrokes.pieces", self.pieces, least=1)
        require_range("PepsiStrokes.length", self.length, least=0)
        require_range("PepsiStrokes.radius", self.radius, least=0, most=1)

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole, never empty."""
        chance = python_rng(rng)
        height, width = size
        side = min(size)
        shortest, longest = (round(share * side) for share in self.length)
        smallest, largest = (round(share * side) for share in self.radius)
        canvas = np.zeros(size, np.uint8)
        for _ in range(chance.randint(*self.strokes)):
            # As in the public code a stroke may start one pixel outside.
            x, y = chance.randint(0, width), chance.randint(0, height)
            points = [(x, y)]
            pieces, radius = chance.randint(*self.pieces), chance.randint(smallest, largest)
            for _ in range(pieces):
                angle, length = chance.uniform(-_LARGEST_ANGLE, _LARGEST_ANGLE), chance.randint(shortest, longest)
                x = min(max(int(x + length * math.sin(angle)), 0), width - 1)
                y = min(max(int(y + length * math.cos(angle)), 0), height - 1)
                points.append((x, y))
            cv2.polylines(canvas, [np.array(points, np.int32)], False, 1, max(1, 2 * radius))
        return canvas
