"""Kernel inception distance (KID)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, distributed

from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.inception_features import FeatureExtractor


class KID(DistributionMetric):
    """Kernel inception distance (Bińkowski et al. 2018) between completions and targets; lower is better.

    The squared maximum mean discrepancy of Inception features under the kernel (x·y / dimensions + 1)³, estimated without
    bias. Its expectation does not depend on the number of images, so it suits small sets. It may come out slightly negative.
    The value is the mean over random subsets, and `std` their standard deviation.

    The features of all images are kept in main memory, or on the device where several processes must exchange them.

    Args:
        features: the feature extractor; several metrics may share one. None: Inception-v3.
        subsets: how many are drawn.
        subset_size: images in each. With fewer than twice as many distinct images, half of these; the name then holds their
            number.
        seed: of the draws, which do not depend on the order of the images.
    """

    feature_pairs: list[Tensor]

    def __init__(
        self, features: FeatureExtractor | None = None, subsets: int = 100, subset_size: int = 1000, seed: int = 0
    ) -> None:
        super().__init__("kid", features, min_images=2 * subset_size)
        self.subsets = subsets
        self.subset_size = subset_size
        self.seed = seed
        self.add_state("feature_pairs", [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Remove all images."""
        super().reset()
        # A process without images must send an empty tensor of the right shape.
        self.feature_pairs.append(torch.zeros(0, 2, self.features.dimensions, device=self.device))

    def update_features(self, prediction: Tensor, target: Tensor) -> None:
        """Keep the features of a batch."""
        pairs = torch.stack([prediction, target], dim=1)
        exchanged = distributed.is_available() and distributed.is_initialized()  # NCCL sends from the device only
        self.feature_pairs.append(pairs if exchanged else pairs.cpu())

    def compute_distance(self) -> Tensor:
        """Mean of the estimates over the subsets; sets `std`."""
        kept = cast(list[Tensor] | Tensor, self.feature_pairs)  # one tensor after the exchange between processes
        pairs = torch.cat([part.cpu() for part in ([kept] if isinstance(kept, Tensor) else kept)])
        orders = [(vectors, vectors.sum(dim=1, dtype=torch.float64).argsort()) for vectors in pairs.unbind(dim=1)]
        size = min(self.subset_size, max(2, self.num_images // 2))
        rng = torch.Generator().manual_seed(self.seed)

        def draw(vectors: Tensor, order: Tensor) -> Tensor:
            chosen = order[torch.randperm(self.num_samples, generator=rng)[:size]]
            return vectors[chosen].to(self.device).double()

        estimates = torch.stack([squared_mmd(*(draw(*one) for one in orders)) for _ in range(self.subsets)])
        self.std = float(estimates.std(correction=0))
        return estimates.mean()


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) under KID's cubic kernel.

    Args:
        x: (n, D), n at least 2.
        y: (m, D), m at least 2.

    Returns:
        Scalar.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_off_diagonal(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.trace()) / (len(a) * (len(a) - 1))

    return mean_off_diagonal(x) + mean_off_diagonal(y) - 2 * kernel(x, y).mean()
