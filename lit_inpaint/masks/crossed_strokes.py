"""Straight strokes in eight fixed directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.masks.base import NumpyMaskSource, require_range
from lit_inpaint.masks.straight_strokes import directions, straight_strokes

# The public code takes OpenCV's x for y: its strokes are LaMa's, transposed.
_BACK, _FORTH = ([(cosine, sine) for sine, cosine in one] for one in directions(4))


@dataclass(frozen=True)
class CrossedStrokes(NumpyMaskSource):
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

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole, never empty."""
        side = min(size)
        shortest, longest = (round(share * side) for share in self.length)
        narrowest, widest = (max(1, round(share * side)) for share in self.width)
        return straight_strokes(
            size,
            rng,
            strokes=self.strokes,
            steps=self.steps,
            directions=(_BACK, _FORTH),
            length=(shortest, longest),
            width=(narrowest, widest),
            inside=False,
        )
