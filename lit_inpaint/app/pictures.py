"""Uploads to pictures, masks and edge maps, and back to PNG files."""

from __future__ import annotations

import time
from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lit_inpaint.app.methods import Method
from lit_inpaint.errors import UserError
from lit_inpaint.inpaint import complete
from lit_inpaint.masks.read_mask import decode_mask
from lit_inpaint.storage.image_decode import decode_image, decode_metadata, decode_pixels, decode_shape, is_animated

_FAST = 1
"""Compression level of PNG files: a quarter of the time of the default for a tenth more bytes."""


class Upload(NamedTuple):
    """A file from the browser; its name is for messages only."""

    content: bytes
    name: str


class Filled(NamedTuple):
    """A completed picture as a PNG file, and how long filling it took, without reading and writing it."""

    png: bytes
    seconds: float


def preview(picture: Upload, max_pixels: int) -> tuple[bytes, str]:
    """Convert a picture of any format to a PNG that browsers show, and return it with a note for the user, mostly empty.

    Raises:
        UserError: it cannot be read, or has more pixels.
    """
    _check_size(picture, max_pixels)
    image = Image.fromarray(decode_pixels(*picture))
    profile = {name: value for name, value in decode_metadata(picture.content).items() if name == "icc_profile"}
    return _png(image, **profile), "animated: only the first frame is used" if is_animated(picture.content) else ""


def mask_overlay(mask: Upload, shape: tuple[int, int], max_pixels: int) -> bytes:
    """Read a mask file, and return it as a PNG that is opaque in the holes.

    Args:
        mask: white marks holes; see `lit_inpaint.masks.read_mask`.
        shape: (H, W) of the picture.
        max_pixels: bound of the picture's pixels.

    Raises:
        UserError: it cannot be read, or differs from the picture in size.
    """
    return _overlay(_read_map(mask, shape, max_pixels, "mask")[0] * 255)


def edges_overlay(method: Method, picture: Upload, mask: Upload, max_pixels: int) -> bytes:
    """Predict the edges in the holes, and return them as a PNG that is opaque on edges.

    Raises:
        UserError: an upload cannot be read, they differ in size, or the method takes no edges.
    """
    image, hole = _read_pair(picture, mask, max_pixels)
    model = method.completes
    if not method.takes_edges or not isinstance(model, torch.nn.Module):
        raise UserError(f"{method.label} takes no edges")
    with torch.no_grad():
        edges = model.predict_edges(image[None].to(model.device).float() / 255, hole[None].to(model.device))
    return _overlay(edges[0, 0].cpu() * 255)


def fill(method: Method, picture: Upload, mask: Upload, edges: Upload | None, max_pixels: int) -> Filled:
    """Fill the holes of a picture; pixels outside keep their exact values.

    Raises:
        UserError: an upload cannot be read, they differ in size, nothing or everything is hole, or memory does not suffice.
    """
    image, hole = _read_pair(picture, mask, max_pixels)
    method.check_hole(hole)
    drawn = None if edges is None else _read_map(edges, _shape(image), max_pixels, "edge map")
    start = time.perf_counter()
    device = getattr(method.completes, "device", torch.device("cpu"))
    try:
        result = complete(method.completes, image, hole, device, drawn)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "memory" not in str(error):
            raise
        raise UserError(f"not enough memory for {method.label} at {image.shape[2]}x{image.shape[1]} pixels") from None
    seconds = time.perf_counter() - start
    return Filled(_png(result, **decode_metadata(picture.content)), seconds)


def _read_pair(picture: Upload, mask: Upload, max_pixels: int) -> tuple[Tensor, Tensor]:
    """Return the picture (3, H, W) uint8 and the mask (1, H, W), 1 = hole."""
    _check_size(picture, max_pixels)
    image = decode_image(*picture)
    hole = _read_map(mask, _shape(image), max_pixels, "mask")
    if not hole.any():
        raise UserError("nothing is painted; paint over what should be filled")
    if hole.all():
        raise UserError("the whole picture is painted; leave some of it, from which the rest can be filled")
    return image, hole


def _read_map(upload: Upload, shape: tuple[int, int], max_pixels: int, kind: str) -> Tensor:
    """Return a mask or an edge map, (1, H, W) float, exactly 0 or 1."""
    _check_size(upload, max_pixels)
    marked = decode_mask(*upload)
    if _shape(marked) != shape:
        height, width = _shape(marked)
        raise UserError(
            f"the {kind} {upload.name} is {width}x{height} pixels (width x height) but the picture is {shape[1]}x{shape[0]}; "
            "give one of the picture's size"
        )
    return marked


def _check_size(upload: Upload, max_pixels: int) -> None:
    height, width = decode_shape(*upload)
    if height * width > max_pixels:
        raise UserError(
            f"{upload.name} is {width}x{height} pixels, {height * width / 1e6:.0f} megapixels; this page takes up to "
            f"{max_pixels / 1e6:.0f} (--max_megapixels)"
        )


def _shape(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def _overlay(opacity: Tensor) -> bytes:
    """Make a PNG that is white where (H, W) in [0, 255] is 255, and transparent where it is 0."""
    alpha: NDArray[np.uint8] = opacity.round().byte().numpy()
    return _png(Image.fromarray(np.stack([np.full_like(alpha, 255), alpha], axis=-1)))


def _png(image: Image.Image, **metadata: object) -> bytes:
    file = BytesIO()
    image.save(file, format="PNG", compress_level=_FAST, **metadata)
    return file.getvalue()
