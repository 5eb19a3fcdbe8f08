"""NVIDIA's irregular mask files, for training and for evaluation by mask ratio, from one folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lit_inpaint.masks.base import MaskSource
from lit_inpaint.masks.random_from_folder import RandomFromFolder

EVALUATION_RATIOS = ((0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5))
"""Mask ratios of the evaluation: the four columns of LPI-Net's tables 1 and 2."""


@dataclass(frozen=True)
class NvidiaMasks(MaskSource):
    """Masks of NVIDIA's set (Liu et al. 2018), as LPI-Net uses them (section 4.1): resized, and not augmented.

    The folder holds the 12,000 test masks, white holes on black. As `data.masks` this source is the only setting of all masks:
    training draws files of any mask ratio within `ratio`. Where `data.val_masks` is null, the evaluation has each image once
    under a file of 10-20, 20-30, 30-40 and 40-50 %.

    Source: https://nv-adlr.github.io/publication/partialconv-inpainting. NVIDIA's 55,116 training masks mark holes in black and
    need dilation; see `RandomFromFolder`.

    Args:
        root: folder with the mask files, `~` allowed; subfolders are included.
        ratio: training uses only files with `low <= mask ratio < high`. LPI-Net does not state it.
    """

    root: str
    ratio: tuple[float, float] = (0.1, 0.5)

    def __post_init__(self) -> None:
        _ = self._training  # a missing folder is an error now

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """Draw one mask (1, H, W), 1 = hole. Raises UserError if the drawn file cannot be read."""
        return self._training(size, rng)

    def evaluation_masks(self) -> tuple[MaskSource, ...]:
        """See `MaskSource`; one source for each of `EVALUATION_RATIOS`."""
        return tuple(RandomFromFolder(self.root, augment=False, ratio=ratio) for ratio in EVALUATION_RATIOS)

    def fingerprint(self) -> str:
        """See `MaskSource`."""
        return self._training.fingerprint()

    @cached_property
    def _training(self) -> RandomFromFolder:
        return RandomFromFolder(self.root, augment=False, ratio=self.ratio)
