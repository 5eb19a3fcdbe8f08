"""One square in the center of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource


@dataclass(frozen=True)
class Center(NumpyMaskSource):
    """A centered square hole; by default a quarter of a square image, the classic test of Context Encoders and PEPSI.

    Args:
        size: side of the square in pixels; null takes half of the image's shorter side.
    """

    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise UserError(f"Center.size is {self.size}; expected a side of at least 1 pixel, or null")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Return the mask (H, W), 1 = hole; `rng` is not used. Raises UserError if the square is larger than the image."""
        height, width = size
        side = min(size) // 2 if self.size is None else self.size
        if side > min(size):
            raise UserError(f"Center.size is {side}, larger than the image of {height}x{width}")
        mask = np.zeros(size, np.uint8)
        top, left = (height - side) // 2, (width - side) // 2
        mask[top : top + side, left : left + side] = 1
        return mask
