"""Fréchet inception distance (FID)."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.inception_features import FeatureExtractor


class FID(DistributionMetric):
    """Fréchet inception distance (Heusel et al. 2017) between completions and targets; lower is better.

    Equals the value that pytorch-fid prints for two folders of PNG files: same network and weights, 8-bit images, sample
    covariances. Sums and outer products of features are accumulated in float64 and added over processes.

    FID depends on the number of images. Below 2,048, the length of a feature vector, the covariances are singular and the
    metric is named `fid_<n>`; prefer KID there.

    Args:
        features: the feature extractor; several metrics may share one. None: Inception-v3.
    """

    sums: Tensor
    products: Tensor

    def __init__(self, features: FeatureExtractor | None = None) -> None:
        super().__init__("fid", features)
        size = self.features.dimensions
        self.add_state("sums", torch.zeros(2, size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("products", torch.zeros(2, size, size, dtype=torch.float64), dist_reduce_fx="sum")

    def update_features(self, prediction: Tensor, target: Tensor) -> None:
        """Add the sums and outer products of a batch's features."""
        for index, features in enumerate((prediction.double(), target.double())):
            self.sums[index] += features.sum(dim=0)
            self.products[index].addmm_(features.T, features)

    def compute_distance(self) -> Tensor:
        """Fréchet distance of the normal distributions with the features' means and sample covariances."""
        n = self.sample_count
        means = self.sums / n
        covariances = (self.products - n * means[:, :, None] * means[:, None, :]) / (n - 1)
        return frechet_distance(means[0], covariances[0], means[1], covariances[1], max_rank=self.num_samples - 1)


def frechet_distance(
    mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor, max_rank: int | None = None
) -> Tensor:
    """|m - m'|² + Tr(C + C' - 2 (C C')^½), the squared distance of two normal distributions (Dowson and Landau 1982).

    With C = F Fᵀ and C' = F' F'ᵀ, the trace of the root is the sum of the singular values of Fᵀ F'. This avoids the root of a
    non-symmetric matrix: no complex values, no multiple of the identity, and singular covariances (fewer samples than
    dimensions) are as exact as others.

    Args:
        mean: (D,).
        covariance: (D, D), symmetric positive semi-definite up to rounding.
        other_mean: (D,).
        other_covariance: (D, D).
        max_rank: of the covariances, the number of samples minus one. Eigenvalues beyond it are rounding and are dropped.

    Returns:
        Scalar, float64, not negative; NaN if an argument is not finite.
    """
    means = (mean.double().cpu(), other_mean.double().cpu())
    covariances = (covariance.double().cpu(), other_covariance.double().cpu())  # LAPACK is the fastest in float64
    if not all(bool(part.isfinite().all()) for part in (*means, *covariances)):
        return torch.tensor(torch.nan, dtype=torch.float64)
    first, second = (_factor(part, max_rank) for part in covariances)
    trace_of_root = torch.linalg.svdvals(first.T @ second).sum()
    distance: Tensor = (means[0] - means[1]).square().sum() + sum(part.trace() for part in covariances) - 2 * trace_of_root
    return distance.clamp(min=0)


def _factor(covariance: Tensor, max_rank: int | None) -> Tensor:
    """F of shape (D, r) with F Fᵀ = `covariance`, from at most `max_rank` eigenvalues, each larger than rounding."""
    values, vectors = torch.linalg.eigh(covariance)
    dimensions = len(values)
    rounding = dimensions * torch.finfo(torch.float64).eps * values.abs().max()
    kept = (values > rounding) & (torch.arange(dimensions) >= dimensions - (dimensions if max_rank is None else max_rank))
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor
