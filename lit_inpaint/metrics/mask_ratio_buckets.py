"""Mask-ratio buckets: tables report scores for small and for large holes separately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bucket:
    """A range of mask ratios, `low <= ratio < high`.

    Attributes:
        low: inclusive lower bound, in [0, 1).
        high: exclusive upper bound.
    """

    low: float
    high: float

    @property
    def label(self) -> str:
        """The range as printed in tables, such as "10-20%"."""
        return f"{100 * self.low:.0f}-{100 * self.high:.0f}%"

    def __contains__(self, mask_ratio: float) -> bool:
        return self.low <= mask_ratio < self.high


ALL_MASK_RATIO_BUCKETS = tuple(Bucket(tenth / 10, (tenth + 1) / 10) for tenth in range(6))
"""0-10 % to 50-60 %, the ranges of PConv's irregular test masks (Liu et al. 2018)."""

MASK_RATIO_BUCKETS = ALL_MASK_RATIO_BUCKETS[1:5]
"""10-20 % to 40-50 %, the columns of LPI-Net's tables 1 and 2."""


def bucket_of(mask_ratio: float, buckets: Sequence[Bucket] = MASK_RATIO_BUCKETS) -> Bucket | None:
    """The first of `buckets` that contains `mask_ratio` (hole pixels / all pixels, counted in the mask), or None."""
    return next((bucket for bucket in buckets if mask_ratio in bucket), None)
