"""The Fréchet distance of two normal distributions."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(
    mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor, rank: int | None = None
) -> Tensor:
    """|m - m'|² + Tr(C + C' - 2 (C C')^½), the squared distance of Dowson and Landau (1982) that FID is.

    With C = F Fᵀ and C' = F' F'ᵀ the trace of the root is the sum of the singular values of Fᵀ F'. So no root of a matrix that
    is not symmetric is taken, nothing turns complex, and singular covariances (fewer samples than dimensions) are as exact as
    others; no multiple of the unit matrix is added to them.

    Args:
        mean: (D,).
        covariance: (D, D), symmetric without negative eigenvalues, but for rounding.
        other_mean: (D,).
        other_covariance: (D, D).
        rank: that the covariances have at most: one less than the number of samples. What rounding adds beyond it is left out.

    Returns:
        Scalar, float64, not negative; NaN where an argument holds what is not a finite number.
    """
    means = (mean.double().cpu(), other_mean.double().cpu())
    covariances = (covariance.double().cpu(), other_covariance.double().cpu())  # LAPACK's are the fastest in float64
    if not all(bool(part.isfinite().all()) for part in (*means, *covariances)):
        return torch.tensor(torch.nan, dtype=torch.float64)
    first, second = (_root(part, rank) for part in covariances)
    overlap = torch.linalg.svdvals(first.T @ second).sum()
    distance: Tensor = (means[0] - means[1]).square().sum() + sum(part.trace() for part in covariances) - 2 * overlap
    return distance.clamp(min=0)


def _root(covariance: Tensor, rank: int | None) -> Tensor:
    """F of shape (D, r) with F Fᵀ = `covariance` (D, D), of the eigenvalues that are more than rounding, at most `rank`."""
    values, vectors = torch.linalg.eigh(covariance)
    dimensions = len(values)
    rounding = dimensions * torch.finfo(torch.float64).eps * values.abs().max()
    kept = (values > rounding) & (torch.arange(dimensions) >= dimensions - (dimensions if rank is None else rank))
    root: Tensor = vectors[:, kept] * values[kept].sqrt()
    return root
