"""Lines, discs and ellipses."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, require_range


@dataclass(frozen=True)
class Shapes(NumpyMaskSource):
    """Lines, discs and arcs of ellipses, some of each (MathiasGruber/PConv-Keras@7c8f2cb).

    Everything is uniform: ends and centres lie anywhere, the half axes of an ellipse are up to the width and the height long,
    its three angles (turn, begin, end) 3 to 180 degrees. At 256x256 30 % of the image is lost, at 512x512 27 %: the thinnest
    shape has the same number of pixels in images of any size.

    Args:
        lines: fewest and most lines.
        discs: fewest and most discs.
        ellipses: fewest and most arcs.
        thinnest: smallest thickness or radius, in pixels.
        thickest: largest thickness or radius, as a share of height plus width; `thinnest` where that is more.
    """

    lines: tuple[int, int] = (1, 20)
    discs: tuple[int, int] = (1, 20)
    ellipses: tuple[int, int] = (1, 20)
    thinnest: int = 3
    thickest: float = 0.03

    def __post_init__(self) -> None:
        for option, count in (("lines", self.lines), ("discs", self.discs), ("ellipses", self.ellipses)):
            require_range(f"Shapes.{option}", count, least=0)
        if self.thinnest < 1:
            raise UserError(f"Shapes.thinnest is {self.thinnest}; it takes at least 1 pixel")
        if not 0 <= self.thickest <= 1:
            raise UserError(f"Shapes.thickest is {self.thickest}; it takes a share in [0, 1]")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole, never empty where it has a line or a disc."""
        height, width = size
        thickness = self.thinnest, max(self.thinnest, int((height + width) * self.thickest))
        chance = python_rng(rng)
        canvas = np.zeros(size, np.uint8)
        for _ in range(chance.randint(*self.lines)):
            begin, end = _point(size, chance), _point(size, chance)
            cv2.line(canvas, begin, end, 1, _between(*thickness, chance))
        for _ in range(chance.randint(*self.discs)):
            cv2.circle(canvas, _point(size, chance), _between(*thickness, chance), 1, cv2.FILLED)
        for _ in range(chance.randint(*self.ellipses)):
            centre, axes = _point(size, chance), _point(size, chance)
            turn, first, last = (_between(3, 180, chance) for _ in range(3))
            cv2.ellipse(canvas, centre, axes, turn, first, last, 1, _between(*thickness, chance))
        return canvas


def _point(size: tuple[int, int], chance: Random) -> tuple[int, int]:
    """(x, y), each 1 to the side's length, as in the public code: the last may lie one pixel outside."""
    return 1 + int(chance.random() * size[1]), 1 + int(chance.random() * size[0])


def _between(least: int, most: int, chance: Random) -> int:
    """`chance.randint`, in a third of its time: a mask takes some hundred and fifty of these."""
    return least + int(chance.random() * (most - least + 1))
