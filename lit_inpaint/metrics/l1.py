"""Mean absolute error (L1)."""

from __future__ import annotations

from torch import Tensor


def l1(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute error of each image in percent of the value range; lower is better.

    Args:
        prediction: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].
        mask: (B, 1, H, W), 1 = hole: average over the hole's pixels only. None averages over the whole image, as in the
            tables of LPI-Net.

    Returns:
        (B,) float64 in [0, 100]; NaN where `mask` has no hole.
    """
    error = 100 * (prediction.double() - target.double()).abs().mean(dim=1, keepdim=True)
    if mask is None:
        return error.mean(dim=(1, 2, 3))
    return (error * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))
