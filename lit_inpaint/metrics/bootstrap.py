"""Bootstrap confidence intervals of means."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CONFIDENCE = 0.95
MAX_RESAMPLES = 10_000
MIN_RESAMPLES = 1_000
"""For any number of images: 25 of the resampled means lie beyond each end of the interval."""
MIN_IMAGES = 5
"""Fewer images give no interval: resampling two or three of them estimates no distribution."""

_SEED = 0
_MAX_DRAWS_IN_MEMORY = 2_000_000
_MAX_DRAWS = 100_000_000  # over all resamples: about three seconds on a core


def num_resamples(num_images: int) -> int:
    """The number of resamples for so many images: 10,000 for up to 10,000 images, then fewer, at least 1,000.

    This bounds the time for tens of thousands of images. The ends of the interval are then less exact, by a few hundredths of
    its width.
    """
    return max(MIN_RESAMPLES, min(MAX_RESAMPLES, _MAX_DRAWS // max(1, num_images)))


def bootstrap_intervals(values: Tensor, images: Tensor, resamples: int | None = None, seed: int = _SEED) -> Tensor:
    """95 % percentile intervals of the mean of each column, by resampling images with replacement (Efron 1979).

    An image is drawn together with all its samples (other crops, other masks). These are more alike than samples of different
    images, and drawing them one by one would make the intervals too narrow. All columns share the draws, so the interval of a
    column does not depend on the other columns or their order.

    Args:
        values: (n, k); non-finite values are left out of their column's means.
        images: (n,) integers, the image of each row.
        resamples: number of resampled means. None: `num_resamples`.
        seed: of the draws.

    Returns:
        (k, 2) low and high ends in float64; NaN where fewer than `MIN_IMAGES` images have a finite value.
    """
    finite = values.isfinite()
    unique, inverse = np.unique(images.numpy(), return_inverse=True)
    image_index, num_images = torch.from_numpy(inverse), len(unique)
    sums, counts = (
        torch.zeros(num_images, values.shape[1], dtype=torch.float64).index_add_(0, image_index, part)
        for part in (torch.where(finite, values, 0.0).double(), finite.double())
    )
    enough = (counts > 0).sum(dim=0) >= MIN_IMAGES
    intervals = torch.full((values.shape[1], 2), torch.nan, dtype=torch.float64)
    if not enough.any():
        return intervals
    rng = torch.Generator().manual_seed(seed)
    remaining = num_resamples(num_images) if resamples is None else resamples
    chunk, means = max(1, _MAX_DRAWS_IN_MEMORY // num_images), []
    while remaining:
        rows = min(chunk, remaining)
        drawn = torch.randint(num_images, (rows, num_images), generator=rng)
        weights = torch.zeros(rows, num_images, dtype=torch.float64).scatter_add_(
            1, drawn, torch.ones(rows, num_images, dtype=torch.float64)
        )
        means.append((weights @ sums) / (weights @ counts))
        remaining -= rows
    quantiles = torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)
    ends = torch.cat(means).nanquantile(quantiles, dim=0).T  # NaN: a resample without any image that has a value
    intervals[enough] = ends[enough]
    return intervals
