"""Random rectangles."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, randint, require_range


@dataclass(frozen=True)
class Boxes(NumpyMaskSource):
    """The union of a few axis-parallel rectangles, which may overlap.

    The defaults are LaMa's training boxes at 256x256 (advimman/lama@786f593): 1-4 boxes with sides of 30-150 pixels, at least
    10 pixels from the border. All lengths are fractions of the image, so images of other sizes get masks of the same
    proportions. With `count=(1, 1)` and `margin=0.0`, `side=(0.3, 0.7)` is DeepGIN's rectangle (paper, section 4.1) and
    `side=(0.375, 0.5)` DeepFill's. `side=(0.5, 0.5)` is EdgeConnect's block: a square of half the side, anywhere.

    Args:
        count: min and max number of rectangles.
        side: min and max side, as fractions of the image's height (for heights) and width (for widths).
        margin: distance to the border, as a fraction of the height and of the width, below 0.5.
    """

    count: tuple[int, int] = (1, 4)
    side: tuple[float, float] = (30 / 256, 150 / 256)
    margin: float = 10 / 256

    def __post_init__(self) -> None:
        require_range("Boxes.count", self.count, minimum=0)
        require_range("Boxes.side", self.side, minimum=0, maximum=1)
        if not 0 <= self.margin < 0.5:
            raise UserError(f"Boxes.margin is {self.margin}; expected a fraction of the side in [0, 0.5)")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole; empty if the number of boxes drawn is 0."""
        py_rng = python_rng(rng)
        mask = np.zeros(size, np.uint8)
        height, width = size
        for _ in range(randint(py_rng, *self.count)):
            rows = self._span(height, py_rng)
            mask[rows, self._span(width, py_rng)] = 1
        return mask

    def _span(self, length: int, py_rng: Random) -> slice:
        """Draw an interval of an axis of `length` pixels: at least 1 pixel, inside the margins."""
        margin = min(round(self.margin * length), (length - 1) // 2)
        room = length - 2 * margin
        min_side, max_side = self.side
        side = randint(py_rng, min(max(1, round(min_side * length)), room), min(max(1, round(max_side * length)), room))
        start = margin + randint(py_rng, 0, room - side)
        return slice(start, start + side)
