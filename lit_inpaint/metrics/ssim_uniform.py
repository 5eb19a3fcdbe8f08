"""Structural similarity in square windows of equal weights."""

from __future__ import annotations

from torch import Tensor

_C1 = 0.01**2  # (K1 L)^2 with the data range L = 1
_C2 = 0.03**2  # (K2 L)^2


def ssim_uniform(prediction: Tensor, target: Tensor, window: int = 7) -> Tensor:
    """Structural similarity of each image as scikit-image's `structural_similarity` computes it unasked; higher is better.

    Every pixel of a window weighs the same, variances and covariance are the samples' (divided by n - 1), only windows that lie
    inside the image count, each channel by itself, then the mean. With `data_range` = 1 in scikit-image; the same images score
    higher the larger the window is.

    Args:
        prediction: (B, C, H, W) in [0, 1], H and W at least `window`.
        target: (B, C, H, W) in [0, 1].
        window: side of the windows in pixels, at least 2.

    Returns:
        (B,) float64 in [-1, 1].

    Raises:
        ValueError: if the images are smaller than the window.
    """
    if min(target.shape[-2:]) < window:
        raise ValueError(f"ssim needs images of at least {window}x{window} pixels, not {tuple(target.shape[-2:])}")
    x, y = prediction.double(), target.double()
    to_sample = window**2 / (window**2 - 1)
    mean_x, mean_y = _means(x, window), _means(y, window)
    variances = to_sample * (_means(x * x + y * y, window) - mean_x.square() - mean_y.square())
    covariance = to_sample * (_means(x * y, window) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _means(image: Tensor, window: int) -> Tensor:
    """Means of all windows inside `image` (B, C, H, W): (B, C, H - window + 1, W - window + 1).

    By differences of running sums, so that a window of 51 costs no more than one of 7.
    """
    for axis in (2, 3):
        length = image.shape[axis] - window
        sums = image.cumsum(dim=axis)
        rest = sums.narrow(axis, window, length) - sums.narrow(axis, 0, length)
        first = sums.narrow(axis, window - 1, 1)
        image = first.new_empty([*rest.shape[:axis], length + 1, *rest.shape[axis + 1 :]])
        image.narrow(axis, 0, 1).copy_(first)
        image.narrow(axis, 1, length).copy_(rest)
    return image / window**2
