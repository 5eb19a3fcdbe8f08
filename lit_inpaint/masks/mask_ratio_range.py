"""Masks of another source, held within a range of damage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import MaskSource, NumpyMaskSource, python_rng
from lit_inpaint.masks.free_form import FreeForm

_MOST_DRAWS = 1000


@dataclass(frozen=True)
class MaskRatio(NumpyMaskSource):
    """Masks whose hole covers a given share of the image: `low <= share < high`, counted in pixels.

    Masks are drawn from `source` until one fits. Where none does within `attempts`, draws are united while they cover too
    little, leaving out those that would cover too much; and where every further draw would, the last is cut off along a row
    so that the union covers a random share of the range. So a mask is within the range always, and as `source` drew it
    wherever that is possible. The default range is that of the hardest column of LPI-Net's tables 1 and 2.

    Args:
        source: where the masks come from.
        low: smallest share of the image that is hole, in [0, 1).
        high: the share stays below this; above `low`.
        attempts: draws tried as they are, and again as additions, before a mask is put together or cut.
    """

    source: MaskSource = FreeForm()  # noqa: RUF009  (frozen, so shared without harm)
    low: float = 0.4
    high: float = 0.5
    attempts: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise UserError(f"MaskRatio takes 0 <= low < high, not low={self.low}, high={self.high}")
        if self.attempts < 2:
            raise UserError(f"MaskRatio.attempts is {self.attempts}; it takes at least 2")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole, within the range.

        Raises:
            UserError: if no mask of this size lies within the range, or `source` draws the same mask every time, or holes
                so small that a thousand of them do not reach the range.
        """
        fewest, most = self._hole_pixels(size)
        draws: list[NDArray[np.uint8]] = []
        for _ in range(self.attempts):
            mask = self.source.sample_uint8(size, rng)
            if fewest <= np.count_nonzero(mask) <= most:
                return mask
            draws.append(mask)
        if draws[0].any() and all(np.array_equal(mask, draws[0]) for mask in draws):
            # A source without chance, such as Center: a part of its one mask is not what its user asked for.
            raise UserError(f"{self.source} always covers {draws[0].mean():.1%} of the image, MaskRatio wants {self._range}")
        return self._put_together(size, rng, fewest, most)

    def _put_together(self, size: tuple[int, int], rng: torch.Generator, fewest: int, most: int) -> NDArray[np.uint8]:
        """A union of draws with `fewest` to `most` hole pixels."""
        mask = np.zeros(size, np.uint8)
        overshoots = 0
        for _ in range(_MOST_DRAWS):
            drawn = self.source.sample_uint8(size, rng)
            union = mask | drawn
            count = np.count_nonzero(union)
            if fewest <= count <= most:
                return union
            if count < fewest:
                mask = union
                continue
            overshoots += 1
            if overshoots == self.attempts:
                chance = python_rng(rng)
                return _add_part(mask, drawn, chance.randint(fewest, most), chance)
        raise UserError(f"{_MOST_DRAWS} masks of {self.source} together do not cover {self._range} of the image")

    def _hole_pixels(self, size: tuple[int, int]) -> tuple[int, int]:
        """The fewest and most hole pixels whose share of an image of `size` lies within the range."""
        pixels = math.prod(size)
        fewest, most = math.floor(self.low * pixels), min(math.ceil(self.high * pixels) - 1, pixels)
        # Both products are rounded, and the shares that tables compute decide on which side of a bound a mask falls.
        fewest += fewest / pixels < self.low
        most -= most / pixels >= self.high
        if fewest > most:
            raise UserError(f"no hole of a {size[0]}x{size[1]} image covers {self._range} of it")
        return fewest, most

    @property
    def _range(self) -> str:
        return f"{self.low:.1%} to {self.high:.1%}"


def _add_part(mask: NDArray[np.uint8], drawn: NDArray[np.uint8], count: int, chance: Random) -> NDArray[np.uint8]:
    """`mask` and so much of `drawn`, from its top down or its bottom up, that the union has `count` hole pixels."""
    added = np.flatnonzero(drawn > mask)
    if chance.random() < 0.5:
        added = added[::-1]
    union = mask.copy()
    union.reshape(-1)[added[: count - np.count_nonzero(mask)]] = 1
    return union
