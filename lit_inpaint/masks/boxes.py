"""Random rectangles."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, require_range


@dataclass(frozen=True)
class Boxes(NumpyMaskSource):
    """The union of a few axis-parallel rectangles, which may overlap.

    The defaults are LaMa's training boxes at 256x256 (advimman/lama@786f593): 1-4 boxes with sides of 30-150 pixels that keep
    10 pixels from the border. Everything is given in shares of the image, so other sizes and shapes look alike. With
    `count=(1, 1)` and `margin=0.0`, DeepGIN's rectangle (paper, section 4.1) has `side=(0.3, 0.7)`, DeepFill's `(0.375, 0.5)`
    and EdgeConnect's block, a square of half the side anywhere, `(0.5, 0.5)`.

    Args:
        count: fewest and most rectangles.
        side: shortest and longest side, as shares of the image's height (for heights) and width (for widths).
        margin: distance kept from the border, as a share of the height and of the width, below a half.
    """

    count: tuple[int, int] = (1, 4)
    side: tuple[float, float] = (30 / 256, 150 / 256)
    margin: float = 10 / 256

    def __post_init__(self) -> None:
        require_range("Boxes.count", self.count, least=0)
        require_range("Boxes.side", self.side, least=0, most=1)
        if not 0 <= self.margin < 0.5:
            raise UserError(f"Boxes.margin is {self.margin}; it takes a share of the side in [0, 0.5)")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole, empty if there is no box."""
        chance = python_rng(rng)
        mask = np.zeros(size, np.uint8)
        for _ in range(chance.randint(*self.count)):
            rows, columns = (self._span(length, chance) for length in size)
            mask[rows, columns] = 1
        return mask

    def _span(self, length: int, chance: Random) -> slice:
        """A stretch of an axis of `length` pixels: at least 1 pixel, and inside the margins."""
        margin = min(round(self.margin * length), (length - 1) // 2)
        room = length - 2 * margin
        shortest, longest = (min(max(1, round(share * length)), room) for share in self.side)
        side = chance.randint(shortest, longest)
        start = margin + chance.randint(0, room - side)
        return slice(start, start + side)
