"""Masks of another source, constrained to a range of mask ratios."""

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

_MAX_DRAWS = 1000


@dataclass(frozen=True)
class MaskRatio(NumpyMaskSource):
    """Masks of another source with `low <= mask ratio < high`, counted in pixels.

    Draws masks from `source` until one is within the range. If none of `attempts` draws is, it unites draws while the union is
    below the range, and skips those that would exceed it. If `attempts` draws would exceed it, the last one is added row by row
    until the union has a ratio drawn uniformly from the range. So each mask is within the range, and unchanged wherever
    possible. The default range is the hardest column of LPI-Net's tables 1 and 2.

    Args:
        source: source of the masks.
        low: min mask ratio, in [0, 1).
        high: exclusive upper bound of the mask ratio; above `low`.
        attempts: number of draws tried unchanged, and of draws that exceed the range before one is added in part.
    """

    source: MaskSource = FreeForm()  # noqa: RUF009  (frozen, so sharing it is safe)
    low: float = 0.4
    high: float = 0.5
    attempts: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise UserError(f"MaskRatio: expected 0 <= low < high, got low={self.low}, high={self.high}")
        if self.attempts < 2:
            raise UserError(f"MaskRatio.attempts is {self.attempts}; expected at least 2")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole, within the range.

        Raises:
            UserError: no mask of this size is within the range; or `source` draws the same mask every time; or its holes are so
                small that the union of 1,000 does not reach the range.
        """
        min_count, max_count = self._pixel_counts(size)
        draws: list[NDArray[np.uint8]] = []
        for _ in range(self.attempts):
            mask = self.source.sample_uint8(size, rng)
            if min_count <= np.count_nonzero(mask) <= max_count:
                return mask
            draws.append(mask)
        if draws[0].any() and all(np.array_equal(mask, draws[0]) for mask in draws):
            # A source without randomness, such as Center: a part of its one mask is not what the user asked for.
            raise UserError(f"{self.source} always has a mask ratio of {draws[0].mean():.1%}, MaskRatio needs {self._range}")
        return self._unite(size, rng, min_count, max_count)

    def _unite(self, size: tuple[int, int], rng: torch.Generator, min_count: int, max_count: int) -> NDArray[np.uint8]:
        """Unite draws to a mask with `min_count` to `max_count` hole pixels."""
        mask = np.zeros(size, np.uint8)
        num_exceeding = 0
        for _ in range(_MAX_DRAWS):
            drawn = self.source.sample_uint8(size, rng)
            union = mask | drawn
            count = np.count_nonzero(union)
            if min_count <= count <= max_count:
                return union
            if count < min_count:
                mask = union
                continue
            num_exceeding += 1
            if num_exceeding == self.attempts:
                py_rng = python_rng(rng)
                return _add_part(mask, drawn, py_rng.randint(min_count, max_count), py_rng)
        raise UserError(f"the union of {_MAX_DRAWS} masks of {self.source} does not reach a mask ratio of {self._range}")

    def _pixel_counts(self, size: tuple[int, int]) -> tuple[int, int]:
        """Min and max number of hole pixels whose ratio in an image of `size` is within the range."""
        pixels = math.prod(size)
        min_count, max_count = math.floor(self.low * pixels), min(math.ceil(self.high * pixels) - 1, pixels)
        # Both products are rounded; what counts is the ratio that tables compute, so compare that with the bounds.
        min_count += min_count / pixels < self.low
        max_count -= max_count / pixels >= self.high
        if min_count > max_count:
            raise UserError(f"no hole of a {size[0]}x{size[1]} image has a mask ratio of {self._range}")
        return min_count, max_count

    @property
    def _range(self) -> str:
        return f"{self.low:.1%} to {self.high:.1%}"


def _add_part(mask: NDArray[np.uint8], drawn: NDArray[np.uint8], count: int, py_rng: Random) -> NDArray[np.uint8]:
    """Add pixels of `drawn` to `mask`, row by row from the top or from the bottom, until it has `count` hole pixels."""
    added = np.flatnonzero(drawn > mask)
    if py_rng.random() < 0.5:
        added = added[::-1]
    union = mask.copy()
    union.reshape(-1)[added[: count - np.count_nonzero(mask)]] = 1
    return union
