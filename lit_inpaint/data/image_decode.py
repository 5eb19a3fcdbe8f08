"""From an image file's bytes to a picture."""

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
_WITHOUT_BLACK = ("YCbCr", "Gray", "RGB")


class UnreadableImageError(UserError):
    """A file that is no image, or a broken one."""


def read_image(path: str | Path) -> Tensor:
    """A picture as a viewer shows it: turned by its EXIF tag, in RGB, without its alpha channel.

    Args:
        path: a file that Pillow can decode, whatever its suffix says.

    Returns:
        (3, H, W) uint8; 16-bit grey is scaled to 8 bits; of an animation the first picture. The three channels of a pixel lie
        side by side in memory: torch resizes such images three to four times faster.

    Raises:
        UserError: naming the file, when it is missing, no image, or broken.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (`Path.read_bytes` takes twice as long)
            content = file.read()
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return decode_image(content, str(path))


def decode_image(content: bytes, where: str) -> Tensor:
    """As `read_image`, for a file's bytes; `where` is what a message calls the file.

    JPEGs go through simplejpeg, or, where EXIF may turn them and where they are of four inks, torchvision: faster than Pillow,
    for the same pixels (all stand on libjpeg-turbo). What they refuse, Pillow has to judge: it decodes more kinds and says
    better what is wrong.
    """
    if content[:2] == _JPEG:
        try:
            plain = not _has_exif(content) and simplejpeg.decode_jpeg_header(content)[2] in _WITHOUT_BLACK
            picture: Tensor = _plain_jpeg(content) if plain else _any_jpeg(content)
            return picture
        except (RuntimeError, ValueError):
            pass
    try:
        with Image.open(BytesIO(content)) as image:
            picture = pil_to_tensor(_to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # decoders raise almost anything on broken bytes
        raise _unreadable(where, error) from error
    return picture


def _has_exif(content: bytes) -> bool:
    """Whether one of the segments before the pixels is EXIF's. Each is a marker of two bytes, a length of two, and the rest."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != _SCAN:
        if content[place + 1] == _APP1 and content[place + 4 : place + 8] == b"Exif":
            return True
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return False


def _plain_jpeg(content: bytes) -> Tensor:
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "RGB")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _any_jpeg(content: bytes) -> Tensor:
    letters = torch.frombuffer(bytearray(content), dtype=torch.uint8)  # of bytes it would warn that they are read-only
    picture: Tensor = decode_jpeg(letters, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    return picture


def read_shape(path: str | Path) -> tuple[int, int]:
    """(H, W) of what `read_image` gives, from the file's header alone.

    Raises:
        UserError: as `read_image`, as far as the header shows it.
    """
    return _shape(path, str(path))


def decode_shape(content: bytes, where: str) -> tuple[int, int]:
    """As `read_shape`, for a file's bytes."""
    return _shape(BytesIO(content), where)


def _shape(file: str | Path | BytesIO, where: str) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            # Pillow turns TIFFs itself, and gives the size afterwards.
            lying = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if lying else (image.height, image.width)
    except Exception as error:  # as above
        raise _unreadable(where, error) from error


def _unreadable(where: str, error: Exception) -> UnreadableImageError:
    reason = " ".join(re.sub(r"<\S+ object at \w+>", "", str(error)).replace(repr(where), "").split()).rstrip(": ")
    return UnreadableImageError(f"cannot read {where} as an image ({type(error).__name__}: {reason})")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow would clip 16-bit grey at 255
        grey = np.asarray(image, dtype=np.int64) // 257
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
