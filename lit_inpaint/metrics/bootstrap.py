"""How far a mean could lie from what more pictures would give: the bootstrap."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

RESAMPLES = 10_000
FEWEST = 1_000
"""Resamples of any number of pictures: 25 of their means lie beyond each end."""
LEVEL = 0.95
LEAST = 5
"""Fewer pictures give no interval: resampling two or three of them says how far these are apart, and little else."""

_SEED = 0
_AT_ONCE = 2_000_000  # drawn pictures held in memory
_DRAWS = 100_000_000  # drawn pictures of all resamples: some three seconds on a core


def resamples_of(pictures: int) -> int:
    """How many means are taken of so many pictures: 10,000 of up to 10,000, then fewer, but 1,000 of any number.

    The ends are then less exact by a few hundredths of the interval's width, and an evaluation of tens of thousands of pictures
    does not take minutes to close.
    """
    return max(FEWEST, min(RESAMPLES, _DRAWS // max(1, pictures)))


def bootstrap_intervals(values: Tensor, pictures: Tensor, resamples: int | None = None, seed: int = _SEED) -> Tensor:
    """95 % intervals of the mean of each column, by the percentiles of means over pictures drawn with replacement (Efron 1979).

    Whole pictures are drawn, with all the samples that show them in other views or with other holes: these are more alike than
    samples of different pictures, and drawing them one by one would make the intervals too narrow. All columns share their
    draws, so the order of columns, and what else is compared, changes nothing.

    Args:
        values: (n, k); what is not finite is left out of its column's means.
        pictures: (n,) integers, which picture each row shows.
        resamples: how many means are taken. None: as `resamples_of` says.
        seed: of the draws.

    Returns:
        (k, 2) low and high ends in float64; NaN where fewer than `LEAST` pictures have a finite value.
    """
    taken = values.isfinite()
    different, inverse = np.unique(pictures.numpy(), return_inverse=True)
    place, count = torch.from_numpy(inverse), len(different)
    sums, counts = (
        torch.zeros(count, values.shape[1], dtype=torch.float64).index_add_(0, place, part)
        for part in (torch.where(taken, values, 0.0).double(), taken.double())
    )
    enough = (counts > 0).sum(dim=0) >= LEAST
    ends = torch.full((values.shape[1], 2), torch.nan, dtype=torch.float64)
    if not enough.any():
        return ends
    rng = torch.Generator().manual_seed(seed)
    means, left, step = [], resamples_of(count) if resamples is None else resamples, max(1, _AT_ONCE // count)
    while left:
        rows = min(step, left)
        drawn = torch.randint(count, (rows, count), generator=rng)
        weights = torch.zeros(rows, count, dtype=torch.float64).scatter_add_(
            1, drawn, torch.ones(rows, count, dtype=torch.float64)
        )
        means.append((weights @ sums) / (weights @ counts))
        left -= rows
    share = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    found = torch.cat(means).nanquantile(share, dim=0).T  # NaN: a resample without any of the pictures that have a value
    ends[enough] = found[enough]
    return ends
