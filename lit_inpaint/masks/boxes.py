"""Random rectangles."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from lit_inpaint.masks.base import MaskSource, dice, require_range
from lit_inpaint.types import UserError


@dataclass(frozen=True)
class Boxes(MaskSource):
    """The union of a few axis-parallel rectangles, which may overlap.

    The defaults are LaMa's training boxes at 256x256 (advimman/lama@786f593): 1-4 boxes with sides of 30-150 pixels that
    keep 10 pixels from the border. Everything is given in shares of the image, so other sizes and shapes look alike.
    DeepGIN's rectangle (paper, section 4.1) is `Boxes(count=(1, 1), side=(0.3, 0.7), margin=0.0)`.

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

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """One mask (1, H, W), 1 = hole."""
        chance = dice(rng)
        mask = torch.zeros(1, *size)
        for _ in range(chance.randint(*self.count)):
            rows, columns = (self._span(length, chance) for length in size)
            mask[:, rows, columns] = 1
        return mask

    def _span(self, length: int, chance: Random) -> slice:
        """A stretch of an axis of `length` pixels: at least 1 pixel, and inside the margins."""
        margin = min(round(self.margin * length), (length - 1) // 2)
        room = length - 2 * margin
        shortest, longest = (min(max(1, round(share * length)), room) for share in self.side)
        side = chance.randint(shortest, longest)
        start = margin + chance.randint(0, room - side)
        return slice(start, start + side)
