"""LaMa's irregular strokes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, require_range
from lit_inpaint.masks.straight_strokes import directions, straight_strokes


@dataclass(frozen=True)
class IrregularStrokes(NumpyMaskSource):
    """Strokes of straight segments inside the image, each segment with its own width (LaMa, advimman/lama@786f593).

    The defaults are those of LaMa's training at 256x256: segments of 10-209 pixels, 5-104 pixels wide, and a mean mask ratio of
    46 %. Lengths scale with the shorter side. The public options differ from their names: `max_times: 5` draws up to 6 strokes,
    since its wrapper adds one and includes the end. `max_len: 200` is a length of 10 to 209 pixels, `max_width: 100` a width of
    5 to 104. Here both ends are the values that are drawn. `LamaMasks` has LaMa's complete sets, with boxes.

    Args:
        strokes: min and max number of strokes.
        steps: min and max number of straight segments of a stroke.
        length: min and max length of a segment, as fractions of the shorter side.
        width: min and max width of a segment, as fractions of the shorter side, at least 1 pixel.
        angles: number of angles of segments: 0.01 plus 0, 1, 2, ... radians, negative in every other stroke.
    """

    strokes: tuple[int, int] = (1, 6)
    steps: tuple[int, int] = (1, 5)
    length: tuple[float, float] = (10 / 256, 209 / 256)
    width: tuple[float, float] = (5 / 256, 104 / 256)
    angles: int = 4

    def __post_init__(self) -> None:
        require_range("IrregularStrokes.strokes", self.strokes, minimum=1)
        require_range("IrregularStrokes.steps", self.steps, minimum=1)
        require_range("IrregularStrokes.length", self.length, minimum=0)
        require_range("IrregularStrokes.width", self.width, minimum=0, maximum=1)
        if self.angles < 1:
            raise UserError(f"IrregularStrokes.angles is {self.angles}; expected at least 1")

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
            directions=directions(self.angles),
            length=(min_length, max_length),
            width=(min_width, max_width),
            inside=True,
        )
