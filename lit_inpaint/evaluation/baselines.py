"""Classical baselines: complete images without a network. Each is a function of (image, mask), like a paper's `forward`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic
from torch import Tensor
from torch.nn.functional import pad

from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.types import composite

Baseline = Callable[[Tensor, Tensor], Tensor]
"""(image (B, 3, H, W) in [0, 1], mask (B, 1, H, W), 1 = hole) -> prediction (B, 3, H, W) in [0, 1], to be composited."""

Pixels = NDArray[np.uint8]

_GRAY = 0.5
_RADIUS = 3
_PATCH_RADIUS = 3


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


def patchmatch(image: Tensor, mask: Tensor) -> Tensor:
    """Fill with patches of known pixels (Barnes et al., 2009): PyPatchMatch, 7x7 pixels, on 8-bit RGB.

    Args:
        image: (B, 3, H, W) in [0, 1]; pixels in the holes are not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W) multiples of 1/255; mid-gray if no pixel is known.
    """
    from patchmatch import inpaint

    return _with_uint8(image, mask, lambda pixels, hole: inpaint(pixels, hole, patch_size=_PATCH_RADIUS))


def frequency_selective(image: Tensor, mask: Tensor) -> Tensor:
    """Fill by frequency-selective reconstruction (Genser et al., 2018): OpenCV's FSR_FAST, on 8-bit BGR.

    Takes a second for a quarter of 256x256 pixels.

    Args:
        image: (B, 3, H, W) in [0, 1]; pixels in the holes are not used.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W) multiples of 1/255; mid-gray if no pixel is known.
    """
    contrib = cast(Any, cv2).xphoto

    def fill(pixels: Pixels, hole: Pixels) -> Pixels:
        filled = np.zeros_like(pixels)
        known = 255 * (1 - hole)  # this method's mask is that of the known pixels
        contrib.inpaint(np.ascontiguousarray(pixels[..., ::-1]), known, filled, contrib.INPAINT_FSR_FAST)
        return filled[..., ::-1]

    return _with_uint8(image, mask, fill)


BASELINES: tuple[tuple[str, Baseline], ...] = (
    ("Mean fill", mean_fill),
    ("OpenCV Telea", telea),
    ("OpenCV Navier-Stokes", navier_stokes),
)
"""The fast baselines: label in tables, function."""

NAMES: dict[str, tuple[str, Baseline]] = {
    "mean": BASELINES[0],
    "telea": BASELINES[1],
    "navier_stokes": BASELINES[2],
    "biharmonic": ("Biharmonic", biharmonic),
    "patchmatch": ("PatchMatch", patchmatch),
    "fsr": ("OpenCV FSR_FAST", frequency_selective),
}
"""All baselines, by their names on the command line. The last two need optional packages."""


def find_baselines(names: Sequence[str]) -> dict[str, Baseline]:
    """Look up baselines by name; without names, the fast ones; "all" gives all that are installed.

    Returns:
        Functions by their labels in tables.

    Raises:
        UserError: unknown name; lists the closest and all names. Or a package is missing; names it.
    """
    for name in names:
        if name not in NAMES and name != "all":
            raise UserError(f"--baselines: there is no {name!r}{did_you_mean(name, [*NAMES, 'all'], show_all=True)}")
        if name != "all":
            require_installed(name)
    if not names:
        return dict(BASELINES)
    if "all" in names and (absent := {name: line for name in NAMES if (line := missing_package(name))}):
        print(f"note: --baselines all leaves out {' and '.join(absent)}: {'; '.join(absent.values())}", file=sys.stderr)
        return {label: function for name, (label, function) in NAMES.items() if name not in absent}
    return dict(baseline for name, baseline in NAMES.items() if name in names or "all" in names)


@dataclass(frozen=True)
class ClassicalMethod:
    """A baseline that completes images as a paper does.

    Attributes:
        label: in tables and messages.
        fill: the baseline.
    """

    label: str
    fill: Baseline

    def complete(self, image: Tensor, mask: Tensor, edges: Tensor | None = None) -> Tensor:
        """Fill the holes, as `Inpainter.complete`; `edges` are not used."""
        return composite(image, self.fill(image, mask), mask)


def find_method(name: str) -> ClassicalMethod:
    """Look up one classical method by name.

    Raises:
        UserError: unknown name; lists the closest and all names. Or a package is missing; names it.
    """
    if name not in NAMES:
        raise UserError(f"--method: there is no {name!r}{did_you_mean(name, list(NAMES), show_all=True)}")
    require_installed(name)
    return ClassicalMethod(*NAMES[name])


def require_installed(name: str) -> None:
    """Raise a `UserError` if a baseline needs a package that is not installed."""
    if line := missing_package(name):
        raise UserError(line)


def missing_package(name: str) -> str | None:
    """Return what a baseline lacks and how to install it; None if nothing."""
    if name == "patchmatch" and find_spec("patchmatch") is None:
        return "patchmatch needs PyPatchMatch; run pip install 'lit_inpaint[patchmatch]'"
    if name == "fsr" and not hasattr(cv2, "xphoto"):
        command = "pip install --force-reinstall --no-deps opencv-contrib-python-headless"
        return f"fsr needs OpenCV with its contrib modules; run {command}"
    return None


def _with_opencv(image: Tensor, mask: Tensor, method: int) -> Tensor:
    """Apply `cv2.inpaint` to each image.

    A single row or column is doubled: for these, OpenCV 4.10 to 5.0 reads memory beyond the image.
    """
    height, width = mask.shape[2:]
    more = (0, int(width == 1), 0, int(height == 1))
    if any(more):
        image, mask = pad(image, more, mode="replicate"), pad(mask, more, mode="replicate")
    filled = _with_uint8(image, mask, lambda pixels, hole: cv2.inpaint(pixels, hole, _RADIUS, method))
    return filled[..., :height, :width]


def _with_uint8(image: Tensor, mask: Tensor, fill: Callable[[Pixels, Pixels], NDArray[Any]]) -> Tensor:
    """Apply `fill` to the bytes (H, W, 3) of each image and its mask (H, W), 1 = hole; mid-gray if no pixel is known."""
    emptied = torch.where(mask > 0.5, _GRAY, image)
    images = (emptied.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    holes = mask[:, 0].byte().contiguous().cpu().numpy()
    filled = [pixels if hole.all() else fill(pixels, hole) for pixels, hole in zip(images, holes, strict=True)]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).to(image) / 255
