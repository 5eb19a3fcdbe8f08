"""Smooth images with noise, for tests of metrics."""

import torch
from torch.nn import functional as F


def noisy_pairs(height: int = 64, width: int = 80, n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions with noise of different strength, and their targets: smooth images, one with a flat half."""
    rng = torch.Generator().manual_seed(0)
    target = F.interpolate(torch.rand(n, 3, 8, 8, generator=rng), (height, width), mode="bicubic").clamp(0, 1)
    target[1, :, : height // 2] = 1.0
    strength = torch.logspace(-3, -0.5, n).view(n, 1, 1, 1)
    return (target + strength * torch.randn(target.shape, generator=rng)).clamp(0, 1), target
