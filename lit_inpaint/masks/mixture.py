"""Random choice between several mask sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import MaskSource, NumpyMaskSource, python_rng


@dataclass(frozen=True)
class Mixture(NumpyMaskSource):
    """Each mask is drawn from one of several sources, chosen at random.

    Args:
        sources: the sources to choose from.
        weights: relative probabilities of the sources; null makes them equal.
    """

    sources: tuple[MaskSource, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("Mixture.sources is empty; expected at least one mask source")
        if self.weights is None:
            return
        if len(self.weights) != len(self.sources):
            raise UserError(f"Mixture.weights has {len(self.weights)} values for {len(self.sources)} sources")
        if min(self.weights) < 0 or sum(self.weights) <= 0:
            raise UserError(f"Mixture.weights is {self.weights}; expected values of at least 0, not all of them 0")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole, from the chosen source."""
        (source,) = python_rng(rng).choices(self.sources, self.weights)
        return source.sample_uint8(size, rng)
