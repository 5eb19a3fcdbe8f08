"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, in decibels; higher is better.

    The squared error is averaged over the pixels and channels of one image, never over images: the mean of these values is
    what papers print, and it differs by several decibels from the ratio of a pooled error (torchmetrics' default).

    Args:
        prediction: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].

    Returns:
        (B,) float64; infinite where the two images are identical.
    """
    error = (prediction.double() - target.double()).square().mean(dim=(1, 2, 3))
    return -10 * error.log10()
