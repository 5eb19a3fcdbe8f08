"""Total variation: mean difference of neighboring pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d


def total_variation(image: Tensor, region: Tensor | None = None, squared: bool = False) -> Tensor:
    """Add the mean difference of vertical neighbors and the mean difference of horizontal neighbors.

    Each mean is over all pairs of the image, channels and samples, whatever the region: a pair outside it counts as no
    difference. So a small region has a small loss (Liu et al. 2018, eq. 6, divides by the size of the image too).

    Args:
        image: (B, C, H, W).
        region: (B, 1, H, W), 1 where the variation counts: a pair counts if both pixels are in it. None: everywhere.
        squared: square the differences instead of taking their absolute value.

    Returns:
        Scalar, float32 or better.
    """
    image = image.to(torch.promote_types(image.dtype, torch.float32))
    total = image.new_zeros(())
    for dim in (-2, -1):
        difference = image.diff(dim=dim)
        difference = difference.square() if squared else difference.abs()
        if region is not None:
            size = region.shape[dim] - 1
            difference = difference * (region.narrow(dim, 1, size) * region.narrow(dim, 0, size))
        total = total + difference.mean()
    return total


def dilate_holes(mask: Tensor, width: int = 1) -> Tensor:
    """Grow the holes of a mask by `width` pixels in all eight directions: width 1 is dilation by a 3x3 square.

    Args:
        mask: (B, 1, H, W), exactly 0 or 1, 1 = hole.
        width: of the added border, in pixels.

    Returns:
        (B, 1, H, W), exactly 0 or 1: the holes and the known pixels next to them.
    """
    return max_pool2d(mask, 2 * width + 1, stride=1, padding=width)
