"""A feature extractor with a few channels, in place of Inception."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_inpaint.metrics.inception_features import FeatureExtractor


class TinyNetwork(nn.Module):
    def __init__(self, dimensions: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.layer = nn.Conv2d(3, dimensions, 5, stride=4)
        nn.init.normal_(self.layer.weight, 0, 0.3, generator=rng)
        nn.init.normal_(self.layer.bias, 0, 0.3, generator=rng)

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(image).relu().mean(dim=(2, 3))


class TinyFeatures(FeatureExtractor):
    """Counts the images that the network processes."""

    def __init__(self, dimensions: int = 6) -> None:
        super().__init__()
        self.description = "a tiny network"
        self.dimensions = dimensions
        self.num_processed = 0

    def load(self) -> nn.Module:
        network = TinyNetwork(self.dimensions)
        network.register_forward_hook(lambda _, inputs, __: setattr(self, "num_processed", self.num_processed + len(inputs[0])))
        return network


def images(n: int, seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Completions and targets of n smooth images, (n, 3, size, size) float64, multiples of 1/255."""
    rng = torch.Generator().manual_seed(seed)
    small = torch.rand(n, 3, 4, 4, generator=rng, dtype=torch.float64)
    target = nn.functional.interpolate(small, (size, size), mode="bicubic").clamp(0, 1)
    completion = (target * 0.8 + 0.1 * torch.rand(target.shape, generator=rng, dtype=torch.float64)).clamp(0, 1)
    return (completion * 255).round() / 255, (target * 255).round() / 255
