"""Decode image files into (3, H, W) uint8 tensors, and read image sizes from file headers."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2.functional import pil_to_tensor

from lit_inpaint.errors import UserError

_JPEG = b"\xff\xd8"
_SCAN, _APP1 = 0xDA, 0xE1
_THREE_COLOR_SPACES = ("YCbCr", "Gray", "RGB")
_ROTATED_ORIENTATIONS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


class UnreadableImageError(UserError):
    """The file is not an image, or is broken."""


def read_image(path: str | Path) -> Tensor:
    """Read an image as viewers show it: rotated by its EXIF orientation, in RGB, without its alpha channel.

    Args:
        path: a file that Pillow can decode, with any suffix.

    Returns:
        (3, H, W) uint8. 16-bit gray is scaled to 8 bits. Of an animation, the first frame. The memory layout is channels-last,
        which torch resizes three to four times faster.

    Raises:
        UnreadableImageError: the file is missing, not an image, or broken.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (`Path.read_bytes` takes twice as long)
            content = file.read()
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return decode_image(content, str(path))


def decode_image(content: bytes, location: str) -> Tensor:
    """Decode the bytes of an image file as `read_image` does.

    JPEGs are decoded by simplejpeg, and those with EXIF data or four color channels by torchvision. Both are faster than Pillow
    and give the same pixels, as all three use libjpeg-turbo. Pillow decodes other formats, and what the two reject: it reads
    more kinds of JPEG and has better error messages.

    Args:
        content: the bytes of the file.
        location: the file's name in error messages.
    """
    if content[:2] == _JPEG:
        try:
            simple = not _has_exif(content) and simplejpeg.decode_jpeg_header(content)[2] in _THREE_COLOR_SPACES
            image: Tensor = _decode_simple_jpeg(content) if simple else _decode_any_jpeg(content)
            return image
        except (RuntimeError, ValueError):
            pass
    try:
        with Image.open(BytesIO(content)) as opened:
            image = pil_to_tensor(_to_rgb(ImageOps.exif_transpose(opened)))
    except Exception as error:  # decoders raise almost anything on broken bytes
        raise _unreadable(location, error) from error
    return image


def _has_exif(content: bytes) -> bool:
    """Return whether a JPEG has an EXIF segment before its pixels. A segment: a 2-byte marker, a 2-byte length, a payload."""
    offset = 2
    while offset + 4 <= len(content) and content[offset] == 0xFF and content[offset + 1] != _SCAN:
        if content[offset + 1] == _APP1 and content[offset + 4 : offset + 8] == b"Exif":
            return True
        offset += 2 + int.from_bytes(content[offset + 2 : offset + 4], "big")
    return False


def _decode_simple_jpeg(content: bytes) -> Tensor:
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "RGB")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _decode_any_jpeg(content: bytes) -> Tensor:
    buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)  # a read-only buffer would cause a warning
    image: Tensor = decode_jpeg(buffer, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    return image


def read_shape(path: str | Path) -> tuple[int, int]:
    """Read (H, W) of the image that `read_image` returns, from the file's header alone.

    Raises:
        UnreadableImageError: as `read_image`, as far as the header shows it.
    """
    return _shape(path, str(path))


def decode_shape(content: bytes, location: str) -> tuple[int, int]:
    """Read (H, W) from the bytes of an image file; see `read_shape` and `decode_image`."""
    return _shape(BytesIO(content), location)


def _shape(file: str | Path | BytesIO, location: str) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            # Pillow rotates TIFFs itself and reports the size after the rotation.
            swapped = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) in _ROTATED_ORIENTATIONS
            return (image.width, image.height) if swapped else (image.height, image.width)
    except Exception as error:  # as above
        raise _unreadable(location, error) from error


def _unreadable(location: str, error: Exception) -> UnreadableImageError:
    reason = " ".join(re.sub(r"<\S+ object at \w+>", "", str(error)).replace(repr(location), "").split()).rstrip(": ")
    return UnreadableImageError(f"cannot read {location} as an image ({type(error).__name__}: {reason})")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow would clip 16-bit gray at 255
        gray = np.asarray(image, dtype=np.int64) // 257
        return Image.fromarray(gray.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
