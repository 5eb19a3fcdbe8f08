"""Find and read mask files: which pixels of a file mark the hole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, reduce
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lit_inpaint.errors import UserError, one_line
from lit_inpaint.storage.find_images import find_images
from lit_inpaint.storage.image_decode import UnreadableImageError, decode_pixels, read_bytes, read_pixels, require_one_frame

_HALF = 127
"""Values above it, of 255, are white or opaque."""


def read_mask(path: str | Path, size: tuple[int, int] | None = None, white_is_hole: bool = True) -> Tensor:
    """Read one mask file of any image format, with the decoder and the EXIF orientation of images.

    Values are thresholded at half, so gray edges from JPEG compression or smooth resizing become neither extra holes nor values
    between 0 and 1. These pixels are the hole:

    - Gray, palette, 16 and 32 bits: white, that is values above half. Values up to 255 count as 8 bits in wider types too.
    - Colors: each pixel with a channel above half, so red, green and blue marks on black count like white ones.
    - `white_is_hole=False`: black in place of white, and each pixel with a channel up to half, so colored marks count again.
    - An alpha channel that is the same everywhere (opaque or transparent) is ignored.
    - Transparent pixels, where the alpha channel varies, as after erasing the hole from a photograph (for either polarity).
    - Opaque pixels, if all of them have one color that marks a hole: strokes drawn on a transparent canvas.
    - Two opaque colors beside transparent pixels are an error, since both could mark the hole.

    Args:
        path: an image file.
        size: (H, W) to resize to (nearest pixel); None keeps the file's size.
        white_is_hole: whether white (or black) marks the hole in the file.

    Returns:
        (1, H, W) float32, exactly 0 or 1, 1 = hole.

    Raises:
        UserError: the file cannot be read, holds the values 0 and 1 in place of 0 and 255, or has two colors and transparency.
    """
    mask = torch.from_numpy(read_mask_uint8(path, white_is_hole))[None]
    return (mask if size is None else resize_mask(mask, size)).float()


def read_mask_uint8(path: str | Path, white_is_hole: bool) -> NDArray[np.uint8]:
    """Read a mask file as (H, W) uint8, 1 = hole; see `read_mask`."""
    with _errors_of_mask(path):
        pixels = read_pixels(path)
    return find_marked(pixels, white_is_hole, f"the mask {path}").view(np.uint8)


def read_single_mask(path: str | Path, white_is_hole: bool) -> NDArray[np.bool_]:
    """Read the mask of one image as (H, W), True = hole; see `read_mask`.

    Raises:
        UserError: also for an animation and for several pages, which may be several masks.
    """
    with _errors_of_mask(path):
        content = read_bytes(path)
        require_one_frame(content, str(path))
        pixels = decode_pixels(content, str(path))
    return find_marked(pixels, white_is_hole, f"the mask {path}")


@contextmanager
def _errors_of_mask(path: str | Path) -> Iterator[None]:
    try:
        yield
    except UnreadableImageError as error:
        raise UserError(str(error).replace(f"cannot read {path}", f"cannot read the mask {path}", 1)) from error


def find_marked(pixels: NDArray[np.uint8], white_is_hole: bool, name: str) -> NDArray[np.bool_]:
    """Find which pixels mark the hole by the rules of `read_mask`.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4), as `lit_inpaint.storage.image_decode.read_pixels` returns them.
        white_is_hole: whether white or black marks the hole.
        name: subject of error messages.

    Returns:
        (H, W).

    Raises:
        UserError: the values are 0 and 1 in place of 0 and 255, or there are two colors and transparency.
    """
    if pixels.max() == 1:
        raise UserError(f"{name} holds only the gray values 0 and 1, which is all black; save white as 255")
    channels = [pixels] if pixels.ndim == 2 else [pixels[..., channel] for channel in range(3)]
    marked = reduce(np.logical_or, [channel > _HALF if white_is_hole else channel <= _HALF for channel in channels])
    return _with_alpha(marked, pixels[..., :3], pixels[..., 3], name) if pixels.shape[2:] == (4,) else marked


def resize_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize `mask` (1, H, W); each pixel takes the value below its center, so that 0 and 1 stay 0 and 1."""
    return F.interpolate(mask[None], size, mode="nearest-exact")[0]


def list_mask_files(folder: Path) -> tuple[Path, ...]:
    """List the image files below `folder`, sorted by path; a line on stderr counts what is left out."""
    found = find_images(folder)
    if skipped := found.describe_skipped(folder):
        print_once(f"warning: {skipped}")
    return tuple(folder / name for name in found.names)


@cache
def print_once(line: str) -> None:
    """Print a line on stderr, once per process. Python warnings are silenced while a configuration is built."""
    print(one_line(line), file=sys.stderr)


def _with_alpha(marked: NDArray[np.bool_], colors: NDArray[np.uint8], alpha: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
    """Return the hole of a file with an alpha channel, given the pixels that their colors mark; see `read_mask`."""
    opaque = alpha > _HALF
    if opaque.all() or not alpha.any():
        return marked
    solid = alpha == alpha.max()  # without smooth edges
    num_colors = len(np.unique(colors[solid].astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)))
    if num_colors == 2:
        raise UserError(
            f"{name} has two colors and transparent pixels, and either could mark the hole; save it in black and "
            "white without transparency"
        )
    return opaque if num_colors == 1 and marked[solid].all() else ~opaque
