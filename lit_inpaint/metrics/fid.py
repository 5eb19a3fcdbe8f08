"""Fréchet inception distance."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.frechet_distance import frechet_distance
from lit_inpaint.metrics.inception_features import Features
from lit_inpaint.metrics.inception_network import Inception


class FID(DistributionMetric):
    """Fréchet inception distance (Heusel et al. 2017) of the completions and the truths; lower is better.

    The number that pytorch-fid prints for two folders of PNG files of the same images: its Inception and weights, 8-bit images,
    sample covariances. Sums and outer products of features are kept in float64 and added over processes.

    It depends on the number of images; below 2,048, as many as a feature vector is long, the covariances are singular, the
    number is called `fid_<n>`, and KID is the better choice.

    Args:
        features: what the images are seen through. One object may serve several measures: truths are then looked at once.
    """

    sums: Tensor
    products: Tensor

    def __init__(self, features: Features | None = None) -> None:
        looked = Inception() if features is None else features
        super().__init__(f"fid{looked.suffix}", enough=looked.dimensions)
        self.features = looked
        size = looked.dimensions
        self.add_state("sums", torch.zeros(2, size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("products", torch.zeros(2, size, size, dtype=torch.float64), dist_reduce_fx="sum")

    def require_weights(self) -> None:
        """Load Inception now."""
        self.features.require_weights()

    def take(self, prediction: Tensor, target: Tensor) -> None:
        """Add the features of a batch."""
        for place, found in enumerate((self.features.of(prediction), self.features.of_truth(target))):
            vectors = found.double()
            self.sums[place] += vectors.sum(dim=0)
            self.products[place].addmm_(vectors.T, vectors)

    def value(self) -> Tensor:
        """The distance of the two normal distributions with the features' means and sample covariances."""
        means = self.sums / self.images
        covariances = (self.products - self.images * means[:, :, None] * means[:, None, :]) / (self.images - 1)
        return frechet_distance(means[0], covariances[0], means[1], covariances[1], rank=self.total - 1)
