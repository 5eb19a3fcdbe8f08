"""Classical baselines: complete images without a network. Each is a function of (image, mask), like a paper's `forward`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from lit_inpaint.errors import UserError, did_you_mean

Baseline = Callable[[Tensor, Tensor], Tensor]
"""(image (B, 3, H, W) in [0, 1], mask (B, 1, H, W), 1 = hole) -> prediction (B, 3, H, W) in [0, 1], to be composited."""

_GRAY = 0.5
_RADIUS = 3


def mean_fill(image: Tensor, mask: Tensor) -> Tensor:
    """Fill with the mean color of each image's known pixels; mid-gray if no pixel is known.

    Args:
        image: (B, 3, H, W) in [0, 1]; pixels in the holes are not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W), one color per image.
    """
    known = 1 - mask
    pixels = known.sum(dim=(2, 3), keepdim=True)
    color = (image * known).sum(dim=(2, 3), keepdim=True) / pixels.clamp(min=1)
    return torch.where(pixels > 0, color, _GRAY).expand_as(image)


def telea(image: Tensor, mask: Tensor) -> Tensor:
    """Fill by fast marching (Telea, 2004): OpenCV, radius of 3 pixels, on 8-bit RGB.

    Args:
        image: (B, 3, H, W) in [0, 1]; pixels in the holes are not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W) multiples of 1/255; mid-gray if no pixel is known.
    """
    return _with_opencv(image, mask, cv2.INPAINT_TELEA)


def navier_stokes(image: Tensor, mask: Tensor) -> Tensor:
    """Fill by fluid dynamics (Bertalmio et al., 2001): OpenCV, radius of 3 pixels, on 8-bit RGB.

    Args:
        image: (B, 3, H, W) in [0, 1]; pixels in the holes are not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W) multiples of 1/255; mid-gray if no pixel is known.
    """
    return _with_opencv(image, mask, cv2.INPAINT_NS)


def biharmonic(image: Tensor, mask: Tensor) -> Tensor:
    """Fill by biharmonic interpolation (Damelin and Hoang, 2018): scikit-image, each hole by itself.

    Solves a linear system with one unknown per hole pixel: this takes seconds for a large hole in 256x256 pixels.

    Args:
        image: (B, 3, H, W) in [0, 1]; pixels in the holes are not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W) in [0, 1]; mid-gray if no pixel is known.
    """
    images = torch.where(mask > 0.5, _GRAY, image).double().permute(0, 2, 3, 1).cpu().numpy()
    holes = (mask[:, 0] > 0.5).cpu().numpy()
    filled = [
        pixels if hole.all() else inpaint_biharmonic(pixels, hole, split_into_regions=True, channel_axis=-1)
        for pixels, hole in zip(images, holes, strict=True)
    ]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).clamp(0, 1).to(image)


BASELINES: tuple[tuple[str, Baseline], ...] = (
    ("Mean fill", mean_fill),
    ("OpenCV Telea", telea),
    ("OpenCV Navier-Stokes", navier_stokes),
)
"""The fast baselines: label in tables, function."""

NAMES = {"mean": BASELINES[0], "telea": BASELINES[1], "navier_stokes": BASELINES[2], "biharmonic": ("Biharmonic", biharmonic)}
"""All baselines, by their names for `--baselines`."""


def find_baselines(names: Sequence[str]) -> dict[str, Baseline]:
    """Look up baselines by name; without names, the fast ones; "all" gives all.

    Returns:
        Functions by their labels in tables.

    Raises:
        UserError: unknown name; lists the closest and all names.
    """
    for name in names:
        if name not in NAMES and name != "all":
            raise UserError(f"--baselines: there is no {name!r}{did_you_mean(name, [*NAMES, 'all'], show_all=True)}")
    if not names:
        return dict(BASELINES)
    return dict(baseline for name, baseline in NAMES.items() if name in names or "all" in names)


def _with_opencv(image: Tensor, mask: Tensor, method: int) -> Tensor:
    """Apply `cv2.inpaint` to each image. OpenCV returns an image without known pixels unchanged, so holes start mid-gray."""
    emptied = torch.where(mask > 0.5, _GRAY, image)
    images = (emptied.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    holes = mask[:, 0].byte().cpu().numpy()
    filled = [cv2.inpaint(pixels, hole, _RADIUS, method) for pixels, hole in zip(images, holes, strict=True)]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).to(image) / 255
