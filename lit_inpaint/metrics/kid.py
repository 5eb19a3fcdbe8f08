"""Kernel inception distance."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, distributed

from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.inception_features import Features
from lit_inpaint.metrics.inception_network import Inception


class KID(DistributionMetric):
    """Kernel inception distance (Bińkowski et al. 2018) of the completions and the truths; lower is better.

    The squared maximum mean discrepancy of Inception's features under the kernel (x·y / dimensions + 1)³, estimated without
    bias: its expectation does not depend on the number of images, so it is the one to use for small sets. It may come out
    slightly negative. The value is the mean over subsets drawn at random, `spread` their standard deviation.

    The features of all images are kept, in main memory unless several processes have to exchange them.

    Args:
        features: what the images are seen through; may serve several measures.
        subsets: how many are drawn.
        subset_size: images in each. Where there are fewer than twice as many different ones, half as many as these; the name
            says their number.
        seed: of the draws, which do not depend on the order of the images.

    Attributes:
        spread: standard deviation over the subsets at the last `compute`; None where there is no number.
    """

    pairs: list[Tensor]

    def __init__(self, features: Features | None = None, subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> None:
        looked = Inception() if features is None else features
        super().__init__(f"kid{looked.suffix}", enough=2 * subset_size)
        self.features = looked
        self.subsets = subsets
        self.subset_size = subset_size
        self.seed = seed
        self.spread: float | None = None
        self.add_state("pairs", [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        # A process without images of its own must still have something of the right shape to send to the others.
        self.pairs.append(torch.zeros(0, 2, self.features.dimensions, device=self.device))

    def require_weights(self) -> None:
        """Load Inception now."""
        self.features.require_weights()

    def take(self, prediction: Tensor, target: Tensor) -> None:
        """Keep the features of a batch."""
        found = torch.stack([self.features.of(prediction), self.features.of_truth(target)], dim=1)
        together = distributed.is_available() and distributed.is_initialized()  # processes may be unable to send from elsewhere
        self.pairs.append(found if together else found.cpu())

    def compute(self) -> Tensor:
        """See `DistributionMetric`."""
        self.spread = None
        return super().compute()

    def value(self) -> Tensor:
        """Mean of the estimates over the subsets; sets `spread`."""
        kept = cast(Any, self.pairs)
        parts = kept if isinstance(kept, list) else [kept]  # after a sum over processes one tensor
        pairs = torch.cat([part.cpu() for part in parts])
        orders = [(vectors, vectors.sum(dim=1, dtype=torch.float64).argsort()) for vectors in pairs.unbind(dim=1)]
        size = min(self.subset_size, max(2, self.total_different // 2))
        rng = torch.Generator().manual_seed(self.seed)

        def draw(vectors: Tensor, order: Tensor) -> Tensor:
            chosen = order[torch.randperm(self.total, generator=rng)[:size]]
            return vectors[chosen].to(self.device).double()

        found = torch.stack([squared_discrepancy(*(draw(*one) for one in orders)) for _ in range(self.subsets)])
        self.spread = float(found.std(correction=0))
        return found.mean()


def squared_discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) under KID's cubic kernel.

    Args:
        x: (n, D), n at least 2.
        y: (m, D), m at least 2.

    Returns:
        Scalar.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_of_others(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.trace()) / (len(a) * (len(a) - 1))

    return mean_of_others(x) + mean_of_others(y) - 2 * kernel(x, y).mean()
