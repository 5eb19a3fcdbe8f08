"""The left or the right half of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.masks.base import NumpyMaskSource, python_rng


@dataclass(frozen=True)
class HalfImage(NumpyMaskSource):
    """The left or the right half, with equal probability (EdgeConnect's second type, knazeri/edge-connect@3142579).

    Half of an odd width is rounded down.
    """

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole."""
        mask = np.zeros(size, np.uint8)
        half = size[1] // 2
        if python_rng(rng).random() < 0.5:
            mask[:, :half] = 1
        else:
            mask[:, half : 2 * half] = 1
        return mask
