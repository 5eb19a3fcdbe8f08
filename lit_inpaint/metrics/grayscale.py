"""Measures of grey images, and of the part of an image around the hole, that single papers use."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_inpaint.metrics.psnr import psnr
from lit_inpaint.metrics.ssim import ssim
from lit_inpaint.metrics.ssim_uniform import ssim_uniform

_GREY = (0.2125, 0.7154, 0.0721)  # ITU-R 709, rounded, as scikit-image's rgb2gray has it
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601: Y of YUV


def grey_psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """`psnr` of the grey images: (B, 3, H, W) in [0, 1], twice -> (B,) float64 in decibels."""
    return psnr(_weighted(prediction.double(), _GREY), _weighted(target.double(), _GREY))


def grey_ssim_51(prediction: Tensor, target: Tensor) -> Tensor:
    """`ssim_uniform` of the grey images in windows of 51x51: (B, 3, H, W) in [0, 1], twice -> (B,) float64."""
    return ssim_uniform(_weighted(prediction.double(), _GREY), _weighted(target.double(), _GREY), window=51)


def grey_relative_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Sum of absolute errors by the sum of both images, of grey images, in percent; lower is better.

    Not a mean error: the same error weighs more in a dark image. 0 where both images are black.

    Args:
        prediction: (B, 3, H, W) in [0, 1].
        target: (B, 3, H, W) in [0, 1].

    Returns:
        (B,) float64 in [0, 100].
    """
    x, y = _weighted(prediction.double(), _GREY), _weighted(target.double(), _GREY)
    error, total = (x - y).abs().sum(dim=(1, 2, 3)), (x + y).sum(dim=(1, 2, 3))
    return 100 * torch.where(total == 0, 0.0, error / total)


def luma_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """`ssim` of the luma (Y of ITU-R 601), cut off to whole grey levels: (B, 3, H, W) in [0, 1], twice -> (B,) float64."""
    return ssim(_whole_levels(prediction), _whole_levels(target))


def box_psnr(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`psnr` of the smallest upright box around each image's hole; of a rectangular hole, that of the hole.

    Args:
        prediction: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B,) float64 in decibels; infinite where box and prediction are identical, or where there is no hole.
    """
    box = torch.ones_like(mask)
    for axis in (2, 3):
        other = 5 - axis
        touched = mask.amax(dim=other, keepdim=True)  # rows, or columns, with any hole
        reached = touched.cummax(dim=axis).values * touched.flip(axis).cummax(dim=axis).values.flip(axis)
        box = box * reached
    error = (prediction.double() - target.double()).square() * box
    pixels = box.double().sum(dim=(1, 2, 3)).clamp(min=1) * prediction.shape[1]
    return -10 * (error.sum(dim=(1, 2, 3)) / pixels).log10()


def _weighted(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """(B, 3, H, W) to (B, 1, H, W)."""
    return (image * image.new_tensor(weights).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _whole_levels(image: Tensor) -> Tensor:
    """The luma of `image`, cut off to multiples of 1/255, in float64; in float32 before, as in TensorFlow."""
    return (_weighted(image.float(), _LUMA) * 255).floor().double() / 255
