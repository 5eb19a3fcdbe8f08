"""Completion without learning: what a network has to beat. Each is a function of (image, mask), like a paper's `forward`."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

Baseline = Callable[[Tensor, Tensor], Tensor]
"""(image (B, 3, H, W) in [0, 1], mask (B, 1, H, W), 1 = hole) -> prediction (B, 3, H, W) in [0, 1], to be composited."""

_GREY = 0.5
_RADIUS = 3


def mean_fill(image: Tensor, mask: Tensor) -> Tensor:
    """Each image's mean known colour everywhere; mid-grey where nothing is known.

    Args:
        image: (B, 3, H, W) in [0, 1]; what it holds in the holes is not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W), one colour per image.
    """
    known = 1 - mask
    pixels = known.sum(dim=(2, 3), keepdim=True)
    colour = (image * known).sum(dim=(2, 3), keepdim=True) / pixels.clamp(min=1)
    return torch.where(pixels > 0, colour, _GREY).expand_as(image)


def telea(image: Tensor, mask: Tensor) -> Tensor:
    """Fast marching (Telea, 2004) as OpenCV has it, with a radius of 3 pixels, on 8-bit RGB.

    Args:
        image: (B, 3, H, W) in [0, 1]; what it holds in the holes is not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W) multiples of 1/255; mid-grey where nothing is known.
    """
    return _with_opencv(image, mask, cv2.INPAINT_TELEA)


def navier_stokes(image: Tensor, mask: Tensor) -> Tensor:
    """Fluid dynamics (Bertalmio et al., 2001) as OpenCV has it, with a radius of 3 pixels, on 8-bit RGB.

    Args:
        image: (B, 3, H, W) in [0, 1]; what it holds in the holes is not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W) multiples of 1/255; mid-grey where nothing is known.
    """
    return _with_opencv(image, mask, cv2.INPAINT_NS)


BASELINES: tuple[tuple[str, Baseline], ...] = (
    ("Mean fill", mean_fill),
    ("OpenCV Telea", telea),
    ("OpenCV Navier-Stokes", navier_stokes),
)
"""What tables call them, and the functions."""


def _with_opencv(image: Tensor, mask: Tensor, method: int) -> Tensor:
    """`cv2.inpaint` image by image. A hole without known pixels would come back as it was, so all holes start mid-grey."""
    emptied = torch.where(mask > 0.5, _GREY, image)
    pictures = (emptied.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    holes = mask[:, 0].byte().cpu().numpy()
    filled = [cv2.inpaint(picture, hole, _RADIUS, method) for picture, hole in zip(pictures, holes, strict=True)]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).to(image) / 255
