"""From an image file's bytes to a picture."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2.functional import pil_to_tensor

from lit_inpaint.types import UserError

_JPEG = b"\xff\xd8"


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
        content = Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return decode_image(content, str(path))


def decode_image(content: bytes, where: str) -> Tensor:
    """As `read_image`, for a file's bytes; `where` is what a message calls the file.

    JPEGs go through torchvision, which takes two thirds of Pillow's time for the same pixels (both stand on libjpeg-turbo).
    What it refuses, Pillow has to judge: it decodes more kinds and says better what is wrong.
    """
    if content[:2] == _JPEG:
        try:
            letters = torch.frombuffer(bytearray(content), dtype=torch.uint8)  # of bytes it would warn that they are read-only
            picture: Tensor = decode_jpeg(letters, mode=ImageReadMode.RGB, apply_exif_orientation=True)
            return picture
        except RuntimeError:
            pass
    try:
        with Image.open(BytesIO(content)) as image:
            picture = pil_to_tensor(_to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # decoders raise almost anything on broken bytes
        raise _unreadable(where, error) from error
    return picture


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
