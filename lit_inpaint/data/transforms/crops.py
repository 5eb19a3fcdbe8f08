"""From a picture of any size to what is trained or evaluated: a square of one size, or the picture as it is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from lit_inpaint.errors import UserError


class Transform(ABC):
    """How a picture is looked at. A view has no state: what is random in it comes from the generator it is handed.

    Attributes:
        square: every picture becomes a square of one size; else shapes differ, and results do not stack to batches.
    """

    square: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """One square of the picture, or what `shape` says.

        Args:
            image: (3, H, W) uint8, any H and W from 1 on.
            size: side of the square in pixels.
            rng: source of every draw.

        Returns:
            (3, size, size) uint8, or (3, *shape).
        """

    def shape(self, picture: tuple[int, int], size: int) -> tuple[int, int]:
        """(H, W) at which a picture of (H, W) pixels is shown."""
        return size, size

    def describe(self, size: int) -> str:
        """In words, how large pictures are shown."""
        return f"{size} px"


@dataclass(frozen=True)
class ResizedCenterCrop(Transform):
    """The largest centred square, resized. Nothing is drawn."""

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        return _resize(F.center_crop(image, [min(image.shape[1:])]), size)


@dataclass(frozen=True)
class Resize(Transform):
    """The whole picture, squeezed into a square whatever its shape.

    Args:
        flip: probability of mirroring left to right; at 0 the view shows the same on each draw.

    Raises:
        UserError: no probability.
    """

    flip: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise UserError(f"Resized needs 0 <= flip <= 1, got {self.flip}")

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        coin = torch.rand(1, generator=rng).item()
        square = _resize(image, size)
        return square.flip(-1) if coin < self.flip else square


@dataclass(frozen=True)
class NativeSize(Transform):
    """The whole picture in its own size and shape, to evaluate on; nothing is drawn. Batches hold one sample each.

    `evaluate` pads, or takes apart, what a network does not take as it is. Validation within `fit` does not: there `multiple`
    has to be the network's.

    Args:
        multiple: sides are cut to multiples of so many pixels, alike at both ends.
        max_size: larger pictures are shrunk, in their shape, until the longer side has so many pixels. None: no picture is.

    Raises:
        UserError: a number below 1, or `max_size` below `multiple`.
    """

    multiple: int = 1
    max_size: int | None = None

    square: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.multiple < 1 or (self.max_size is not None and self.max_size < self.multiple):
            raise UserError(f"Original needs 1 <= multiple <= max_size, got multiple={self.multiple}, max_size={self.max_size}")

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`; `size` does not matter."""
        height, width = image.shape[1:]
        shape, shrunk = self.shape((height, width), size), self._shrunk((height, width))
        if shrunk != (height, width):
            image = F.resize(image, list(shrunk), antialias=True)
        return F.center_crop(image, list(shape)) if shape != shrunk else image

    def shape(self, picture: tuple[int, int], size: int) -> tuple[int, int]:
        """See `Transform`.

        Raises:
            UserError: the picture is smaller than `multiple`.
        """
        height, width = self._shrunk(picture)
        if min(height, width) < self.multiple:
            raise UserError(
                f"Original(multiple={self.multiple}) cannot show a picture of {picture[1]}x{picture[0]} pixels (width x height)"
                f"{f', which becomes {width}x{height}' * ((height, width) != picture)}; leave it out, or take another val_transform"
            )
        return height - height % self.multiple, width - width % self.multiple

    def describe(self, size: int) -> str:
        """See `Transform`."""
        shrunk = f", at most {self.max_size} px" if self.max_size is not None else ""
        return f"original sizes{shrunk}{f', cut to multiples of {self.multiple}' if self.multiple > 1 else ''}"

    def _shrunk(self, picture: tuple[int, int]) -> tuple[int, int]:
        shrink = 1.0 if self.max_size is None else min(1.0, self.max_size / max(picture))
        height, width = (max(1, round(side * shrink)) for side in picture)
        return height, width


@dataclass(frozen=True)
class RandomCrop(Transform):
    """A square at the picture's own resolution, from anywhere, perhaps mirrored. Nothing is resized.

    A picture that is too small stands in the middle, continued on all sides by its mirror image without repeating the edge.

    Args:
        flip: probability of mirroring left to right.

    Raises:
        UserError: no probability.
    """

    flip: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise UserError(f"RandomCrop needs 0 <= flip <= 1, got {self.flip}")

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        down, right, coin = torch.rand(3, generator=rng).tolist()
        rows, columns = (_window(extent, size, place) for extent, place in zip(image.shape[1:], (down, right), strict=True))
        square = image[:, rows][:, :, columns]
        return square.flip(-1) if coin < self.flip else square


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """A square of random side and place, resized, perhaps mirrored.

    Args:
        scale: least and greatest side as fractions of the picture's shorter side, 0 < least <= greatest <= 1; drawn uniformly
            in the logarithm, so each octave of scale is as likely as the next.
        flip: probability of mirroring left to right.

    Raises:
        UserError: values outside those ranges.
    """

    scale: tuple[float, float] = (0.5, 1.0)
    flip: float = 0.5

    def __post_init__(self) -> None:
        least, greatest = self.scale
        if not (0 < least <= greatest <= 1 and 0 <= self.flip <= 1):
            raise UserError(
                f"RandomResizedCrop needs 0 < scale[0] <= scale[1] <= 1 and 0 <= flip <= 1, got {self.scale}, {self.flip}"
            )

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        height, width = image.shape[1:]
        extent, down, right, coin = torch.rand(4, generator=rng).tolist()
        least, greatest = map(math.log, self.scale)
        side = max(1, round(min(height, width) * math.exp(least + extent * (greatest - least))))
        top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
        square = _resize(image[:, top : top + side, left : left + side], size)
        return square.flip(-1) if coin < self.flip else square


@dataclass(frozen=True)
class PolyphaseSubsample(Transform):
    """The whole picture, whatever its shape, of which only every n-th pixel in both directions is kept (DeepGIN, section 5.1).

    It is resized to n times the size (bicubic, squeezed into a square), turned by a multiple of 90 degrees, and sub-sampled
    from one of the n² places to start; all that is drawn. The public code (rlct1/gin @cfcef5d) turns and mirrors, the paper
    says nothing of it.

    Args:
        factor: n.
        rotate: turn it.
        flip: probability of mirroring left to right.

    Raises:
        UserError: n below 1, or no probability.
    """

    factor: int = 2
    rotate: bool = True
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.factor < 1 or not 0 <= self.flip <= 1:
            raise UserError(f"Subsampled needs factor >= 1 and 0 <= flip <= 1, got {self.factor}, {self.flip}")

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        quarters, down, right, coin = torch.rand(4, generator=rng).tolist()
        square = _resize(image, size * self.factor, InterpolationMode.BICUBIC)
        if self.rotate:
            square = square.rot90(int(quarters * 4), dims=(1, 2))
        part = square[:, int(down * self.factor) :: self.factor, int(right * self.factor) :: self.factor]
        return part.flip(-1) if coin < self.flip else part.contiguous()


def _window(extent: int, size: int, place: float) -> slice | Tensor:
    """Which `size` of `extent` pixels: those from `place`, in [0, 1) of the room, on; all and their mirror image if too few."""
    if extent >= size:
        start = int(place * (extent - size + 1))
        return slice(start, start + size)
    if extent == 1:
        return torch.zeros(size, dtype=torch.int64)
    period = 2 * (extent - 1)
    there = (torch.arange(size) - (size - extent) // 2) % period
    return torch.minimum(there, period - there)


def _resize(square: Tensor, size: int, mode: InterpolationMode = InterpolationMode.BILINEAR) -> Tensor:
    """(3, H, W) uint8 to (3, size, size) uint8, over the full footprint of each new pixel."""
    if square.shape[1:] == (size, size):  # torchvision would find out too, later
        return square
    resized: Tensor = F.resize(square, [size, size], interpolation=mode, antialias=True)
    return resized
