"""DeepGIN's free-form masks: straight strokes in eight fixed directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.masks.base import NumpyMaskSource, require_range
from lit_inpaint.masks.straight_strokes import directions, straight_strokes

# The public code exchanges OpenCV's x and y: its strokes are LaMa's, transposed.
_NEGATIVE, _POSITIVE = ([(cosine, sine) for sine, cosine in one] for one in directions(4))


@dataclass(frozen=True)
class CrossedStrokes(NumpyMaskSource):
    """The free-form masks of DeepGIN's public code (rlct1/gin @cfcef5d): many short strokes with flat ends.

    The paper's text names DeepFill v2's masks instead (section 5.1), which are `FreeForm`.

    Each stroke starts at a uniform position; its segments may leave the image. A segment has one of four angles (0.01 plus 0,
    1, 2 or 3 radians, negative in every other stroke), and its own length and width. Lengths scale with the image's shorter
    side. At 256 pixels segments are 10-69 pixels long and 10-24 wide, and the mean mask ratio is about 40 %.

    Args:
        strokes: min and max number of strokes.
        steps: min and max number of straight segments of a stroke.
        length: min and max length of a segment, as fractions of the shorter side.
        width: min and max width of a segment, as fractions of the shorter side, at least 1 pixel.
    """

    strokes: tuple[int, int] = (15, 23)
    steps: tuple[int, int] = (1, 5)
    length: tuple[float, float] = (10 / 256, 69 / 256)
    width: tuple[float, float] = (10 / 256, 24 / 256)

    def __post_init__(self) -> None:
        require_range("CrossedStrokes.strokes", self.strokes, minimum=1)
        require_range("CrossedStrokes.steps", self.steps, minimum=1)
        require_range("CrossedStrokes.length", self.length, minimum=0)
        require_range("CrossedStrokes.width", self.width, minimum=0, maximum=1)

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole, never empty."""
        side = min(size)
        min_length, max_length = (round(fraction * side) for fraction in self.length)
        min_width, max_width = (max(1, round(fraction * side)) for fraction in self.width)
        return straight_strokes(
            size,
            rng,
            strokes=self.strokes,
            steps=self.steps,
            directions=(_NEGATIVE, _POSITIVE),
            length=(min_length, max_length),
            width=(min_width, max_width),
            inside=False,
        )
