"""Peak signal-to-noise ratio (PSNR)."""

from __future__ import annotations

import torch
from torch import Tensor


def psnr(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of each image, in decibels; higher is better.

    The squared error is averaged over the pixels and channels of one image, never over images. Papers print the mean of these
    values. It differs by several decibels from the ratio of a pooled error, torchmetrics' default.

    Args:
        prediction: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].
        mask: (B, 1, H, W), 1 = hole: average the error over the hole's pixels only. None averages over the whole image.

    Returns:
        (B,) float64; infinite where the two images are identical; NaN where `mask` has no hole.
    """
    error = (prediction.double() - target.double()).square()
    if mask is None:
        return -10 * error.mean(dim=(1, 2, 3)).log10()
    error = torch.where(mask > 0.5, error, 0.0).sum(dim=(1, 2, 3)) / (error.shape[1] * mask.double().sum(dim=(1, 2, 3)))
    return -10 * error.log10()
