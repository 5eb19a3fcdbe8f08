"""Union of the holes of several mask sources."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import MaskSource, NumpyMaskSource


@dataclass(frozen=True)
class MaskUnion(NumpyMaskSource):
    """A pixel is hole where any of the sources has a hole; DeepFill v2 unites its strokes and a rectangle in this way.

    Args:
        sources: the sources; each draws one mask per call, in this order.
    """

    sources: tuple[MaskSource, ...]

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("MaskUnion.sources is empty; expected at least one mask source")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole."""
        return reduce(np.bitwise_or, [source.sample_uint8(size, rng) for source in self.sources])
