"""Uploads to pictures, masks and edge maps, and back to PNG files."""

from __future__ import annotations

import time
from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lit_inpaint.app.methods import Method
from lit_inpaint.errors import UserError
from lit_inpaint.inpainting.hole_groups import Mask
from lit_inpaint.inpainting.inpaint_image import fill_array
from lit_inpaint.masks.read_mask import find_marked
from lit_inpaint.storage.image_decode import claimed_size, decode_image, decode_pixels, require_one_frame
from lit_inpaint.storage.image_files import ImageFile, decode_image_file, encode_png

_FAST = 1
"""Compression level of PNG files."""
_MAX_EDGE_PIXELS = 4_000_000
"""Edges are predicted in the whole picture at once."""


class Upload(NamedTuple):
    """A file from the browser; its name is for messages only."""

    content: bytes
    name: str


class Filled(NamedTuple):
    """A completed picture as a PNG file, and how long filling it took, without reading and writing it."""

    png: bytes
    seconds: float


def preview(picture: Upload, max_pixels: int) -> bytes:
    """Convert a picture of any format to a PNG that browsers show, with its own channels and bits.

    Raises:
        UserError: it cannot be read, has several frames, or has more pixels.
    """
    return encode_png(_read_picture(picture, max_pixels), _FAST)


def mask_overlay(mask: Upload, shape: tuple[int, int], max_pixels: int) -> bytes:
    """Read a mask file, and return it as a PNG that is opaque in the holes.

    Args:
        mask: white marks holes; see `lit_inpaint.masks.read_mask`.
        shape: (H, W) of the picture.
        max_pixels: bound of the picture's pixels.

    Raises:
        UserError: it cannot be read, or differs from the picture in size.
    """
    return _overlay(_read_map(mask, shape, max_pixels, "mask").astype(np.uint8) * 255)


def edges_overlay(method: Method, picture: Upload, mask: Upload, max_pixels: int) -> bytes:
    """Predict the edges in the holes, and return them as a PNG that is opaque on edges.

    Raises:
        UserError: an upload cannot be read, they differ in size, the picture is too large, or the method takes no edges.
    """
    _check_size(picture, min(max_pixels, _MAX_EDGE_PIXELS), "the prediction of edges")
    image = decode_image(*picture)
    hole = _read_hole(mask, (image.shape[1], image.shape[2]), max_pixels)
    if not method.takes_edges or not isinstance(method.network, torch.nn.Module):
        raise UserError(f"{method.label} takes no edges")
    device = method.network.device
    batch = image[None].to(device).float() / 255, torch.from_numpy(hole)[None, None].to(device).float()
    with torch.no_grad():
        edges = method.network.predict_edges(*batch)[0, 0]
    return _overlay((edges > 0.5).byte().mul(255).cpu().numpy())  # `fill` reads edges with the same threshold


def fill(method: Method, picture: Upload, mask: Upload, edges: Upload | None, max_pixels: int) -> Filled:
    """Fill the holes of a picture; pixels outside keep their exact values, and the picture its channels and bits.

    Raises:
        UserError: an upload cannot be read, they differ in size, nothing or everything is hole, or memory does not suffice.
    """
    image = _read_picture(picture, max_pixels)
    hole = _read_hole(mask, image.shape, max_pixels)
    method.check_hole(int(hole.sum()))
    drawn = None if edges is None else _read_map(edges, image.shape, max_pixels, "edge map")
    start = time.perf_counter()
    try:
        fill_array(method.filler, image.pixels, hole, drawn)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "memory" not in str(error):
            raise
        raise UserError(f"not enough memory for {method.label} at {image.shape[1]}x{image.shape[0]} pixels") from None
    seconds = time.perf_counter() - start
    return Filled(encode_png(image, _FAST), seconds)


def _read_picture(picture: Upload, max_pixels: int) -> ImageFile:
    _check_size(picture, max_pixels)
    return decode_image_file(*picture)


def _read_hole(mask: Upload, shape: tuple[int, int], max_pixels: int) -> Mask:
    hole = _read_map(mask, shape, max_pixels, "mask")
    if not hole.any():
        raise UserError("nothing is painted; paint over what should be filled")
    if hole.all():
        raise UserError("the whole picture is painted; leave some of it, from which the rest can be filled")
    return hole


def _read_map(upload: Upload, shape: tuple[int, int], max_pixels: int, kind: str) -> Mask:
    """Return where a mask or an edge map of the picture's `shape` (H, W) is white."""
    _check_size(upload, max_pixels)
    require_one_frame(*upload)
    marked = find_marked(decode_pixels(*upload), True, f"the {kind} {upload.name}")
    if marked.shape != shape:
        raise UserError(
            f"the {kind} {upload.name} is {marked.shape[1]}x{marked.shape[0]} pixels (width x height) but the picture is "
            f"{shape[1]}x{shape[0]}; give one of the picture's size"
        )
    return marked


def _check_size(upload: Upload, max_pixels: int, who: str = "this page") -> None:
    width, height = claimed_size(*upload)  # `decode_shape` decodes PNGs to find their orientation
    if height * width > max_pixels:
        raise UserError(
            f"{upload.name} is {width}x{height} pixels, {height * width / 1e6:.1f} megapixels; {who} takes up to "
            f"{max_pixels / 1e6:g}"
        )


def _overlay(opacity: NDArray[np.uint8]) -> bytes:
    """Make a PNG that is white where (H, W) is 255, and transparent where it is 0."""
    file = BytesIO()
    Image.fromarray(np.stack([np.full_like(opacity, 255), opacity], axis=-1)).save(file, format="PNG", compress_level=_FAST)
    return file.getvalue()
