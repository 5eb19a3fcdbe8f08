"""Metrics of gray images, and of the box around the hole, that single papers use."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_inpaint.metrics.psnr import psnr
from lit_inpaint.metrics.ssim import ssim, ssim_uniform

_GRAY = (0.2125, 0.7154, 0.0721)  # ITU-R 709, rounded as in scikit-image's rgb2gray
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601: Y of YUV


def gray_psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """`psnr` of the gray images: (B, 3, H, W) in [0, 1], twice -> (B,) float64 in decibels."""
    return psnr(_to_gray(prediction), _to_gray(target))


def gray_ssim_51(prediction: Tensor, target: Tensor) -> Tensor:
    """`ssim_uniform` of the gray images with a 51x51 window: (B, 3, H, W) in [0, 1], twice -> (B,) float64."""
    return ssim_uniform(_to_gray(prediction), _to_gray(target), window=51)


def gray_relative_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Sum of absolute errors divided by the sum of both images, of gray images, in percent; lower is better.

    Not a mean error: the same error counts more in a dark image. 0 where both images are black.

    Args:
        prediction: (B, 3, H, W) in [0, 1].
        target: (B, 3, H, W) in [0, 1].

    Returns:
        (B,) float64 in [0, 100].
    """
    x, y = _to_gray(prediction), _to_gray(target)
    error, total = (x - y).abs().sum(dim=(1, 2, 3)), (x + y).sum(dim=(1, 2, 3))
    return 100 * torch.where(total == 0, 0.0, error / total)


def luma_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """`ssim` of the luma (Y of ITU-R 601), truncated to 8 bits: (B, 3, H, W) in [0, 1], twice -> (B,) float64."""
    return ssim(_to_luma(prediction), _to_luma(target))


def box_psnr(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`psnr` of the bounding box of each image's hole; for a rectangular hole, of the hole itself.

    Args:
        prediction: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B,) float64 in decibels; infinite where prediction and target are identical inside the box, or where there is no hole.
    """
    box = torch.ones_like(mask)
    for axis in (2, 3):
        occupied = mask.amax(dim=5 - axis, keepdim=True)  # rows, or columns, that contain a hole pixel
        box = box * occupied.cummax(dim=axis).values * occupied.flip(axis).cummax(dim=axis).values.flip(axis)
    error = (prediction.double() - target.double()).square() * box
    pixels = box.double().sum(dim=(1, 2, 3)).clamp(min=1) * prediction.shape[1]
    return -10 * (error.sum(dim=(1, 2, 3)) / pixels).log10()


def _to_gray(image: Tensor) -> Tensor:
    from kornia.color import rgb_to_grayscale  # imported here: it takes half a second, and one protocol needs it

    image = image.double()
    return rgb_to_grayscale(image, image.new_tensor(_GRAY))


def _to_luma(image: Tensor) -> Tensor:
    """Luma truncated to multiples of 1/255, in float64; computed in float32 as in TensorFlow."""
    image = image.float()
    luma = (image * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return (luma * 255).floor().double() / 255
