"""Crop, resize and subsample images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from lit_inpaint.data.transforms.base import Transform
from lit_inpaint.errors import UserError


@dataclass(frozen=True)
class ResizedCenterCrop(Transform):
    """Crop the largest centered square and resize it. Nothing is random."""

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        return _resize(F.center_crop(image, [min(image.shape[1:])]), size)


@dataclass(frozen=True)
class Resize(Transform):
    """Resize the whole image to a square, whatever its aspect ratio.

    Args:
        flip: probability of a horizontal flip; at 0 nothing is random.

    Raises:
        UserError: `flip` is outside [0, 1].
    """

    flip: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise UserError(f"Resize needs 0 <= flip <= 1, got {self.flip}")

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        flip = torch.rand(1, generator=rng).item() < self.flip
        square = _resize(image, size)
        return square.flip(-1) if flip else square


@dataclass(frozen=True)
class NativeSize(Transform):
    """Keep the whole image in its own size and aspect ratio, for evaluation. Nothing is random; batches have one sample each.

    `evaluate` pads or tiles images that a network does not accept as they are. Validation within `fit` does not: there
    `multiple` has to be the network's.

    Args:
        multiple: crop both sides to a multiple of this many pixels, equally at both ends.
        max_size: shrink larger images until the longer side has this many pixels, with the same aspect ratio. None: never.

    Raises:
        UserError: a number is below 1, or `max_size` is below `multiple`.
    """

    multiple: int = 1
    max_size: int | None = None

    square: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.multiple < 1 or (self.max_size is not None and self.max_size < self.multiple):
            raise UserError(
                f"NativeSize needs 1 <= multiple <= max_size, got multiple={self.multiple}, max_size={self.max_size}"
            )

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`; `size` is not used."""
        height, width = image.shape[1:]
        shape, shrunk = self.output_shape((height, width), size), self._shrunk((height, width))
        if shrunk != (height, width):
            image = F.resize(image, list(shrunk), antialias=True)
        return F.center_crop(image, list(shape)) if shape != shrunk else image

    def output_shape(self, image_shape: tuple[int, int], size: int) -> tuple[int, int]:
        """See `Transform`.

        Raises:
            UserError: the image is smaller than `multiple`.
        """
        height, width = self._shrunk(image_shape)
        if min(height, width) < self.multiple:
            shrunk = f", which becomes {width}x{height}" if (height, width) != image_shape else ""
            raise UserError(
                f"NativeSize(multiple={self.multiple}) does not accept an image of {image_shape[1]}x{image_shape[0]} pixels "
                f"(width x height){shrunk}; leave it out, or use another val_transform"
            )
        return height - height % self.multiple, width - width % self.multiple

    def describe(self, size: int) -> str:
        """See `Transform`."""
        limit = f", at most {self.max_size} px" if self.max_size is not None else ""
        return f"original sizes{limit}{f', cut to multiples of {self.multiple}' if self.multiple > 1 else ''}"

    def _shrunk(self, image_shape: tuple[int, int]) -> tuple[int, int]:
        factor = 1.0 if self.max_size is None else min(1.0, self.max_size / max(image_shape))
        height, width = (max(1, round(side * factor)) for side in image_shape)
        return height, width


@dataclass(frozen=True)
class RandomCrop(Transform):
    """Crop a square at a random position, without resizing, and flip it at random.

    An image that is too small is centered and padded on all sides by reflection, without repeating the edge.

    Args:
        flip: probability of a horizontal flip.

    Raises:
        UserError: `flip` is outside [0, 1].
    """

    flip: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise UserError(f"RandomCrop needs 0 <= flip <= 1, got {self.flip}")

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        top, left, flip = torch.rand(3, generator=rng).tolist()
        rows, columns = (_crop_range(side, size, start) for side, start in zip(image.shape[1:], (top, left), strict=True))
        square = image[:, rows][:, :, columns]
        return square.flip(-1) if flip < self.flip else square


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """Crop a square of random side at a random position, resize it, and flip it at random.

    Args:
        scale: minimum and maximum side of the crop as fractions of the image's shorter side, 0 < minimum <= maximum <= 1. It is
            drawn log-uniformly, so that each octave of scale has the same probability.
        flip: probability of a horizontal flip.

    Raises:
        UserError: a value is out of range.
    """

    scale: tuple[float, float] = (0.5, 1.0)
    flip: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.scale
        if not (0 < low <= high <= 1 and 0 <= self.flip <= 1):
            raise UserError(
                f"RandomResizedCrop needs 0 < scale[0] <= scale[1] <= 1 and 0 <= flip <= 1, got {self.scale}, {self.flip}"
            )

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        height, width = image.shape[1:]
        scale, top, left, flip = torch.rand(4, generator=rng).tolist()
        low, high = map(math.log, self.scale)
        side = max(1, round(min(height, width) * math.exp(low + scale * (high - low))))
        first_row, first_column = int(top * (height - side + 1)), int(left * (width - side + 1))
        square = _resize(image[:, first_row : first_row + side, first_column : first_column + side], size)
        return square.flip(-1) if flip < self.flip else square


@dataclass(frozen=True)
class PolyphaseSubsample(Transform):
    """Resize the whole image to n times the size and keep every n-th pixel in both directions (DeepGIN, section 5.1).

    The image is resized to a square with bicubic interpolation, whatever its aspect ratio. It is rotated by a random multiple
    of 90 degrees and subsampled from one of the n² phases, also random. The public code (rlct1/gin @cfcef5d) rotates and flips;
    the paper does not mention either.

    Args:
        factor: n.
        rotate: rotate by a random multiple of 90 degrees.
        flip: probability of a horizontal flip.

    Raises:
        UserError: n is below 1, or `flip` is outside [0, 1].
    """

    factor: int = 2
    rotate: bool = True
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.factor < 1 or not 0 <= self.flip <= 1:
            raise UserError(f"PolyphaseSubsample needs factor >= 1 and 0 <= flip <= 1, got {self.factor}, {self.flip}")

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        rotation, row, column, flip = torch.rand(4, generator=rng).tolist()
        square = _resize(image, size * self.factor, InterpolationMode.BICUBIC)
        if self.rotate:
            square = square.rot90(int(rotation * 4), dims=(1, 2))
        phase = square[:, int(row * self.factor) :: self.factor, int(column * self.factor) :: self.factor]
        return phase.flip(-1) if flip < self.flip else phase.contiguous()


def _crop_range(side: int, size: int, start: float) -> slice | Tensor:
    """Return which `size` of `side` pixels a crop contains.

    Args:
        side: height or width of the image.
        size: height or width of the crop. If it exceeds `side`, the crop is the centered image, padded by reflection.
        start: position of the crop, in [0, 1): 0 for the first possible pixel.
    """
    if side >= size:
        first = int(start * (side - size + 1))
        return slice(first, first + size)
    if side == 1:
        return torch.zeros(size, dtype=torch.int64)
    period = 2 * (side - 1)
    positions = (torch.arange(size) - (size - side) // 2) % period
    return torch.minimum(positions, period - positions)


def _resize(square: Tensor, size: int, mode: InterpolationMode = InterpolationMode.BILINEAR) -> Tensor:
    """Resize (3, H, W) uint8 to (3, size, size) uint8 with antialiasing."""
    if square.shape[1:] == (size, size):  # torchvision checks this as well, but later
        return square
    resized: Tensor = F.resize(square, [size, size], interpolation=mode, antialias=True)
    return resized
