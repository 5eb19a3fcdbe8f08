"""A source's masks, turned and mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.masks.base import MaskSource, NumpyMaskSource, python_rng


@dataclass(frozen=True)
class RandomFlipRot90(NumpyMaskSource):
    """Masks of another source in one of eight positions: four quarter turns, each as drawn or mirrored.

    PEPSI's public code lays one mask, in these eight positions, over the eight images of a batch. Here each image has a mask of
    its own, in a position of its own: of the same distribution for each image, but a batch holds eight shapes instead of one.

    Args:
        source: where the masks come from; one that is turned by a quarter is drawn with height and width exchanged.
    """

    source: MaskSource

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole. Raises what `source` raises."""
        turns, mirrored = divmod(python_rng(rng).randrange(8), 2)
        mask = np.rot90(self.source.sample_uint8(size[::-1] if turns % 2 else size, rng), turns)
        return np.ascontiguousarray(mask[:, ::-1] if mirrored else mask)
