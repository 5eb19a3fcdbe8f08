"""Structural similarity (SSIM): with a Gaussian window, and with a uniform one as in scikit-image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

_WINDOW = 11
_SIGMA = 1.5
_C1 = 0.01**2  # (K1 L)^2 with the data range L = 1
_C2 = 0.03**2  # (K2 L)^2


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004, equation 13); higher is better.

    Settings of the original: 11x11 Gaussian window of standard deviation 1.5, K1 = 0.01, K2 = 0.03, data range 1, only windows
    inside the image, population (not sample) covariance, mean over channels. Other libraries pad the image, which changes
    scores by up to some hundredths.

    Args:
        prediction: (B, C, H, W) in [0, 1], H and W at least 11.
        target: (B, C, H, W) in [0, 1].

    Returns:
        (B,) float64 in [-1, 1].

    Raises:
        ValueError: the images are smaller than the window.
    """
    return _ssim(prediction, target, _WINDOW, _gaussian_means)


def ssim_uniform(prediction: Tensor, target: Tensor, window: int = 7) -> Tensor:
    """Structural similarity of each image with the defaults of scikit-image's `structural_similarity`; higher is better.

    All pixels of a window have the same weight, variances and covariance are sample estimates (divided by n - 1), only windows
    inside the image count, mean over channels. Equals scikit-image with `data_range=1`. A larger window gives higher scores.

    Args:
        prediction: (B, C, H, W) in [0, 1], H and W at least `window`.
        target: (B, C, H, W) in [0, 1].
        window: side in pixels, at least 2.

    Returns:
        (B,) float64 in [-1, 1].

    Raises:
        ValueError: the images are smaller than the window.
    """
    n = window**2
    return _ssim(prediction, target, window, lambda image: _uniform_means(image, window), n / (n - 1))


def ssim_zero_padded(prediction: Tensor, target: Tensor) -> Tensor:
    """`ssim` with windows around all pixels of the image, which is surrounded by zeros (LaMa's public code; pytorch-ssim).

    Args:
        prediction: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].

    Returns:
        (B,) float64 in [-1, 1].
    """
    return ssim(*(pad(image, [_WINDOW // 2] * 4) for image in (prediction, target)))


def _ssim(
    prediction: Tensor, target: Tensor, window: int, means: Callable[[Tensor], Tensor], correction: float = 1.0
) -> Tensor:
    """SSIM with `means` of windows; `correction` is 1, or turns population into sample covariances."""
    if min(target.shape[-2:]) < window:
        raise ValueError(f"ssim needs images of at least {window}x{window} pixels, not {tuple(target.shape[-2:])}")
    # Variances are small differences of large means: float32 loses digits in flat areas, where they are as small as C2.
    x, y = prediction.double(), target.double()
    mean_x, mean_y = means(x), means(y)
    # Only the sum of the two variances is needed, which saves one of five window means.
    variances = correction * (means(x * x + y * y) - mean_x.square() - mean_y.square())
    covariance = correction * (means(x * y) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _gaussian_means(image: Tensor) -> Tensor:
    """Gaussian means of all windows inside `image` (B, C, H, W): (B, C, H - 10, W - 10).

    Adds shifted copies along each axis: in float64 on a CPU seven times as fast as a convolution.
    """
    offsets = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    weights = (-offsets.square() / (2 * _SIGMA**2)).softmax(dim=0).tolist()
    for axis in (2, 3):
        length = image.shape[axis] - _WINDOW + 1
        total = image.narrow(axis, 0, length) * weights[0]
        for start, weight in enumerate(weights[1:], start=1):
            total.add_(image.narrow(axis, start, length), alpha=weight)
        image = total
    return image


def _uniform_means(image: Tensor, window: int) -> Tensor:
    """Means of all windows inside `image` (B, C, H, W): (B, C, H - window + 1, W - window + 1).

    Differences of cumulative sums, so the time does not depend on the window.
    """
    for axis in (2, 3):
        length = image.shape[axis] - window
        sums = image.cumsum(dim=axis)
        first = sums.narrow(axis, window - 1, 1)
        others = sums.narrow(axis, window, length) - sums.narrow(axis, 0, length)
        image = torch.cat([first, others], dim=axis)
    return image / window**2
