"""Masks of another source, randomly flipped and rotated by multiples of 90 degrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.masks.base import MaskSource, NumpyMaskSource, python_rng


@dataclass(frozen=True)
class RandomFlipRot90(NumpyMaskSource):
    """Masks of another source in one of eight orientations: four rotations by 90 degrees, each with or without a flip.

    PEPSI's public code applies one mask, in its eight orientations, to the eight images of a batch. Here each image has its own
    mask in its own orientation. The distribution per image is the same, but a batch holds eight shapes instead of one.

    Args:
        source: the source of the masks; for rotations by 90 and 270 degrees it draws with height and width exchanged.
    """

    source: MaskSource

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole; raises what `source` raises."""
        rotations, flip = divmod(python_rng(rng).randrange(8), 2)
        mask = np.rot90(self.source.sample_uint8(size[::-1] if rotations % 2 else size, rng), rotations)
        return np.ascontiguousarray(mask[:, ::-1] if flip else mask)
