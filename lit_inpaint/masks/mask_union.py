"""The holes of several sources together."""

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
    """Each mask is a hole wherever a mask of one of the sources is, as DeepFill v2 joins its strokes and a rectangle.

    Args:
        sources: the sources, each of which draws once for a mask, in this order.
    """

    sources: tuple[MaskSource, ...]

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("MaskUnion.sources is empty; it takes at least one mask source")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole."""
        return reduce(np.bitwise_or, [source.sample_uint8(size, rng) for source in self.sources])
