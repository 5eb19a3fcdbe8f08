"""Random lines, discs and elliptical arcs."""

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
    """Lines, discs and arcs of ellipses (MathiasGruber/PConv-Keras@7c8f2cb).

    All draws are uniform: ends and centers lie anywhere, and the half axes of an ellipse are up to the image's width and
    height. Its three angles (rotation, start, end) are 3 to 180 degrees. The mean mask ratio is 30 % at 256x256 and 27 % at
    512x512: the min thickness is the same number of pixels in images of any size.

    Args:
        lines: min and max number of lines.
        discs: min and max number of discs.
        ellipses: min and max number of arcs.
        min_thickness: min thickness or radius, in pixels.
        max_thickness: max thickness or radius, as a fraction of height plus width; at least `min_thickness`.
    """

    lines: tuple[int, int] = (1, 20)
    discs: tuple[int, int] = (1, 20)
    ellipses: tuple[int, int] = (1, 20)
    min_thickness: int = 3
    max_thickness: float = 0.03

    def __post_init__(self) -> None:
        for option, count in (("lines", self.lines), ("discs", self.discs), ("ellipses", self.ellipses)):
            require_range(f"Shapes.{option}", count, minimum=0)
        if self.min_thickness < 1:
            raise UserError(f"Shapes.min_thickness is {self.min_thickness}; expected at least 1 pixel")
        if not 0 <= self.max_thickness <= 1:
            raise UserError(f"Shapes.max_thickness is {self.max_thickness}; expected a fraction in [0, 1]")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole; never empty if it has a line or a disc."""
        height, width = size
        thickness = self.min_thickness, max(self.min_thickness, int((height + width) * self.max_thickness))
        py_rng = python_rng(rng)
        mask = np.zeros(size, np.uint8)
        for _ in range(py_rng.randint(*self.lines)):
            start, end = _point(size, py_rng), _point(size, py_rng)
            cv2.line(mask, start, end, 1, _randint(*thickness, py_rng))
        for _ in range(py_rng.randint(*self.discs)):
            cv2.circle(mask, _point(size, py_rng), _randint(*thickness, py_rng), 1, cv2.FILLED)
        for _ in range(py_rng.randint(*self.ellipses)):
            center, axes = _point(size, py_rng), _point(size, py_rng)
            rotation, start_angle, end_angle = (_randint(3, 180, py_rng) for _ in range(3))
            cv2.ellipse(mask, center, axes, rotation, start_angle, end_angle, 1, _randint(*thickness, py_rng))
        return mask


def _point(size: tuple[int, int], py_rng: Random) -> tuple[int, int]:
    """Draw (x, y), each from 1 to the side's length as in the public code: the last lies one pixel outside."""
    return 1 + int(py_rng.random() * size[1]), 1 + int(py_rng.random() * size[0])


def _randint(low: int, high: int, py_rng: Random) -> int:
    """Draw as `Random.randint`, in a third of its time: a mask needs about 150 draws."""
    return low + int(py_rng.random() * (high - low + 1))
