"""What becomes of a picture, and how far it may shrink."""

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

from lit_inpaint.data.image_decode import UnreadableImageError
from lit_inpaint.data.preparation.file_checks import SIGNATURES
from lit_inpaint.data.transforms import PolyphaseSubsample, RandomResizedCrop, Resize, ResizedCenterCrop, Transform
from lit_inpaint.data.transforms.augmentation import RandomAffine
from lit_inpaint.errors import UserError


@dataclass(frozen=True)
class ResizeOptions:
    """What becomes of a picture.

    Args:
        size: side of the samples in pixels; a picture whose shorter side is below it is called tiny.
        shorter_side: pictures are shrunk to it, never enlarged, in pixels; None only checks them and writes none.
        format: of the written files. A file that has it already and is not shrunk is copied byte for byte.
        quality: of JPEGs, 1 to 100. Colours are kept at full resolution (4:4:4).

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
        """Whether pictures are written, and not only checked."""
        return self.shorter_side is not None

    def encode(self, picture: Tensor, content: bytes, where: str) -> bytes:
        """The file to write.

        Args:
            picture: (3, H, W) uint8.
            content: the file that the picture was read from; empty if it is not all of such a file.
            where: what a message calls it.

        Raises:
            UnreadableImageError: the format cannot hold it.
        """
        height, width = picture.shape[1:]
        shrink = (self.shorter_side or math.inf) / min(height, width)
        if shrink < 1:
            extent = [max(1, round(side * shrink)) for side in (height, width)]
            picture = F.resize(picture, extent, antialias=True)
        elif content.startswith(SIGNATURES[self.format]):
            return content
        image = Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))
        target = io.BytesIO()
        try:
            if self.format == "jpg":
                image.save(target, format="JPEG", quality=self.quality, subsampling=0)
            else:
                image.save(target, format="PNG")
        except (OSError, ValueError) as error:  # a JPEG has at most 65,500 pixels a side
            raise UnreadableImageError(f"cannot write {where} as {self.format} ({error})") from error
        return target.getvalue()


@singledispatch
def shorter_side(view: Transform, size: int) -> int | None:
    """The shorter side, in pixels, to which pictures may be shrunk without a view losing detail.

    Args:
        view: what is cut out of the pictures.
        size: side of the result in pixels.

    Returns:
        None for a view that shows pictures at their own resolution, or that is not known here.
    """
    return None


@shorter_side.register(ResizedCenterCrop | RandomAffine | Resize)
def _(view: Transform, size: int) -> int | None:
    return size


@shorter_side.register
def _(view: RandomResizedCrop, size: int) -> int | None:
    return math.ceil(size / view.scale[0])


@shorter_side.register
def _(view: PolyphaseSubsample, size: int) -> int | None:
    return size * view.factor
