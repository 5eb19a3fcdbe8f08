"""Ranges of damage: tables report a method's scores for small and for large holes apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bucket:
    """A range of hole shares, `low <= share < high`.

    Attributes:
        low: smallest share, in [0, 1).
        high: the share stays below this.
    """

    low: float
    high: float

    @property
    def label(self) -> str:
        """The range as tables print it, such as "10-20%"."""
        return f"{100 * self.low:.0f}-{100 * self.high:.0f}%"

    def __contains__(self, share: float) -> bool:
        return self.low <= share < self.high


ALL_MASK_RATIO_BUCKETS = tuple(Bucket(tenth / 10, (tenth + 1) / 10) for tenth in range(6))
"""0-10 % to 50-60 %, the ranges of PConv's irregular test masks (Liu et al. 2018)."""

MASK_RATIO_BUCKETS = ALL_MASK_RATIO_BUCKETS[1:5]
"""10-20 % to 40-50 %, the columns of LPI-Net's tables 1 and 2."""


def bucket_of(share: float, buckets: Sequence[Bucket] = MASK_RATIO_BUCKETS) -> Bucket | None:
    """The first of `buckets` that holds `share` (hole pixels / all pixels, as counted, not as a file name says), or None."""
    return next((bucket for bucket in buckets if share in bucket), None)
