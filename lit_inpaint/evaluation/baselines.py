"""Completion without learning: what a network has to beat. Each is a function of (image, mask), like a paper's `forward`."""

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


def biharmonic(image: Tensor, mask: Tensor) -> Tensor:
    """The smoothest surface through the known pixels (Damelin and Hoang, 2018) as scikit-image has it, each hole by itself.

    Solves a linear system with an unknown per hole pixel: seconds for a large hole of 256x256 pixels.

    Args:
        image: (B, 3, H, W) in [0, 1]; what it holds in the holes is not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W) in [0, 1]; mid-grey where nothing is known.
    """
    pictures = torch.where(mask > 0.5, _GREY, image).double().permute(0, 2, 3, 1).cpu().numpy()
    holes = (mask[:, 0] > 0.5).cpu().numpy()
    filled = [
        picture if hole.all() else inpaint_biharmonic(picture, hole, split_into_regions=True, channel_axis=-1)
        for picture, hole in zip(pictures, holes, strict=True)
    ]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).clamp(0, 1).to(image)


BASELINES: tuple[tuple[str, Baseline], ...] = (
    ("Mean fill", mean_fill),
    ("OpenCV Telea", telea),
    ("OpenCV Navier-Stokes", navier_stokes),
)
"""What tables call them, and the functions; those that cost little."""

NAMES = {"mean": BASELINES[0], "telea": BASELINES[1], "navier_stokes": BASELINES[2], "biharmonic": ("Biharmonic", biharmonic)}
"""All of them, by what `--baselines` calls them."""


def find_baselines(names: Sequence[str]) -> dict[str, Baseline]:
    """The baselines called `names`, by what tables call them; of no names the cheap ones, of "all" all.

    Raises:
        UserError: there is none of that name, naming the nearest.
    """
    for name in names:
        if name not in NAMES and name != "all":
            raise UserError(f"--baselines: there is no {name!r}{did_you_mean(name, [*NAMES, 'all'], show_all=True)}")
    if not names:
        return dict(BASELINES)
    return dict(baseline for name, baseline in NAMES.items() if name in names or "all" in names)


def _with_opencv(image: Tensor, mask: Tensor, method: int) -> Tensor:
    """`cv2.inpaint` image by image. A hole without known pixels would come back as it was, so all holes start mid-grey."""
    emptied = torch.where(mask > 0.5, _GREY, image)
    pictures = (emptied.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    holes = mask[:, 0].byte().cpu().numpy()
    filled = [cv2.inpaint(picture, hole, _RADIUS, method) for picture, hole in zip(pictures, holes, strict=True)]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).to(image) / 255
