"""Structural similarity as a loss."""

from __future__ import annotations

import torch
from torch import Tensor

_C1 = 0.01**2  # (K1 L)^2 with the data range L = 1
_C2 = 0.03**2  # (K2 L)^2


def ssim_loss(prediction: Tensor, target: Tensor, window: int = 11, sigma: float = 1.5) -> Tensor:
    """1 - SSIM (Wang et al. 2004, equation 13): 0 for equal images, at most 2.

    Each channel by itself, means by a Gaussian window, only windows that lie inside the image, data range 1. This is what
    `lit_inpaint.metrics.ssim` measures, as one differentiable number of a batch. It is computed in float32 or better, also
    under autocast, which leaves such sums alone: variances are small differences of large means, and bfloat16 would lose them.

    Args:
        prediction: (B, C, H, W) on the [0, 1] scale; values outside it are taken as they are. H and W at least `window`.
        target: (B, C, H, W) in [0, 1].
        window: side of the Gaussian window in pixels.
        sigma: its standard deviation in pixels.

    Returns:
        Scalar.

    Raises:
        ValueError: the images are smaller than the window.
    """
    if min(target.shape[-2:]) < window:
        raise ValueError(f"the SSIM loss needs images of at least {window}x{window} pixels, not {tuple(target.shape[-2:])}")
    x, y = (image.to(torch.promote_types(image.dtype, torch.float32)) for image in (prediction, target))
    # The two variances are needed as their sum only, which saves one of five blurs.
    means = _blur(torch.cat([x, y, x * x + y * y, x * y]), window, sigma)
    mean_x, mean_y, mean_of_squares, mean_of_product = means.chunk(4)
    squares, product = mean_x.square() + mean_y.square(), mean_x * mean_y
    luminance = (2 * product + _C1) / (squares + _C1)
    structure = (2 * (mean_of_product - product) + _C2) / (mean_of_squares - squares + _C2)
    return 1 - (luminance * structure).mean()


def _blur(image: Tensor, window: int, sigma: float) -> Tensor:
    """Gaussian means of all windows inside `image` (B, C, H, W): (B, C, H - window + 1, W - window + 1).

    A sum of shifted copies, rows then columns: on a CPU five times as fast, with its gradient, as one-channel convolutions.
    """
    offsets = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    weights = (-offsets.square() / (2 * sigma**2)).softmax(dim=0).tolist()
    for axis in (2, 3):
        length = image.shape[axis] - window + 1
        total = image.narrow(axis, 0, length) * weights[0]
        for start, weight in enumerate(weights[1:], start=1):
            total = torch.add(total, image.narrow(axis, start, length), alpha=weight)
        image = total
    return image
