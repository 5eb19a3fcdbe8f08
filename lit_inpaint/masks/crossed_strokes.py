"""Straight strokes in eight fixed directions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from lit_inpaint.masks.base import MaskSource, dice, require_range

_ANGLES = (0.01, 1.01, 2.01, 3.01)


@dataclass(frozen=True)
class CrossedStrokes(MaskSource):
    """The free-form masks of DeepGIN's public code (rlct1/gin @cfcef5d): many short strokes of flat brushes.

    Each stroke starts anywhere and walks its pieces, out of the image too. A piece has one of four angles (0.01 plus 0, 1, 2 or
    3 radians, negative in every other stroke), a length and a brush of its own. All lengths scale with the image's shorter
    side; the numbers are those at 256 pixels: pieces of 10-69, brushes of 10-24. About 40 % of the image is lost.

    Args:
        strokes: fewest and most strokes.
        steps: fewest and most straight pieces of a stroke.
        length: shortest and longest piece, as shares of the shorter side.
        width: narrowest and widest brush, as shares of the shorter side, at least 1 pixel.
    """

    strokes: tuple[int, int] = (15, 23)
    steps: tuple[int, int] = (1, 5)
    length: tuple[float, float] = (10 / 256, 69 / 256)
    width: tuple[float, float] = (10 / 256, 24 / 256)

    def __post_init__(self) -> None:
        require_range("CrossedStrokes.strokes", self.strokes, least=1)
        require_range("CrossedStrokes.steps", self.steps, least=1)
        require_range("CrossedStrokes.length", self.length, least=0)
        require_range("CrossedStrokes.width", self.width, least=0, most=1)

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """One mask (1, H, W), 1 = hole, never empty."""
        chance = dice(rng)
        height, width = size
        side = min(size)
        shortest, longest = (round(share * side) for share in self.length)
        thinnest, thickest = (max(1, round(share * side)) for share in self.width)
        canvas = np.zeros(size, np.uint8)
        for stroke in range(chance.randint(*self.strokes)):
            x, y = chance.randrange(width), chance.randrange(height)
            for _ in range(chance.randint(*self.steps)):
                angle = chance.choice(_ANGLES) * (1 if stroke % 2 else -1)
                length = chance.randint(shortest, longest)
                end = int(x + length * math.cos(angle)), int(y + length * math.sin(angle))
                cv2.line(canvas, (x, y), end, 1, chance.randint(thinnest, thickest))
                x, y = end
        return torch.from_numpy(canvas).float()[None]
