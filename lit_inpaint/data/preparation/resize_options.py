"""Options of resizing, and the shorter side that a transform needs."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import singledispatch
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from lit_inpaint.data.preparation.file_checks import SIGNATURES
from lit_inpaint.data.transforms import PolyphaseSubsample, RandomResizedCrop, Resize, ResizedCenterCrop, Transform
from lit_inpaint.data.transforms.augmentation import RandomAffine
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import UnreadableImageError


@dataclass(frozen=True)
class ResizeOptions:
    """How images are resized and encoded.

    Args:
        size: side of the samples in pixels; images whose shorter side is smaller are reported as tiny.
        shorter_side: max shorter side of written images in pixels; smaller images are not enlarged. None checks images only.
        format: format of written files. A file that has this format and needs no resizing is copied byte for byte.
        quality: JPEG quality, 1 to 100. Chroma is not subsampled (4:4:4).

    Raises:
        UserError: the quality is out of range.
    """

    size: int
    shorter_side: int | None
    format: Literal["jpg", "png"] = "jpg"
    quality: int = 95

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UserError(f"--quality is {self.quality}, it must be from 1 to 100")

    @property
    def writes(self) -> bool:
        """Whether images are written, and not only checked."""
        return self.shorter_side is not None

    def encode(self, image: Tensor, content: bytes, location: str) -> bytes:
        """Resize and encode an image.

        Args:
            image: (3, H, W) uint8.
            content: bytes of the file that holds exactly this image; empty if there is none.
            location: name of the image in messages.

        Raises:
            UnreadableImageError: the format cannot hold an image of this size.
        """
        height, width = image.shape[1:]
        scale = (self.shorter_side or math.inf) / min(height, width)
        if scale < 1:
            image = F.resize(image, [max(1, round(side * scale)) for side in (height, width)], antialias=True)
        elif content.startswith(SIGNATURES[self.format]):
            return content
        pil_image = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
        encoded = io.BytesIO()
        try:
            if self.format == "jpg":
                pil_image.save(encoded, format="JPEG", quality=self.quality, subsampling=0)
            else:
                pil_image.save(encoded, format="PNG")
        except (OSError, ValueError) as error:  # a JPEG has at most 65,500 pixels a side
            raise UnreadableImageError(f"cannot write {location} as {self.format} ({error})") from error
        return encoded.getvalue()


@singledispatch
def required_shorter_side(transform: Transform, size: int) -> int | None:
    """Min shorter side, in pixels, of images from which `transform` crops samples without loss of detail.

    Args:
        transform: the crop of training or evaluation.
        size: side of the samples in pixels.

    Returns:
        None for a transform that crops at the images' own resolution, or that is not registered here.
    """
    return None


@required_shorter_side.register(ResizedCenterCrop | RandomAffine | Resize)
def _(transform: Transform, size: int) -> int | None:
    return size


@required_shorter_side.register
def _(transform: RandomResizedCrop, size: int) -> int | None:
    return math.ceil(size / transform.scale[0])


@required_shorter_side.register
def _(transform: PolyphaseSubsample, size: int) -> int | None:
    return size * transform.factor
