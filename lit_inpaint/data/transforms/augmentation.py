"""Augment images with geometric warps and color changes. All warps are composed and resampled once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.data.transforms.base import Transform
from lit_inpaint.data.transforms.crops import ResizedCenterCrop
from lit_inpaint.errors import UserError

Pixels = NDArray[np.uint8]
Coordinates = NDArray[np.floating[Any]]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class RandomAffine(Transform):
    """Crop the largest centered square, resize it, then rotate, shift and flip it at random.

    The Keras port of partial convolutions does the same (MathiasGruber/PConv-Keras: `ImageDataGenerator` with
    `rotation_range=10`, `width_shift_range` and `height_shift_range` 0.1, `horizontal_flip`). Pixels from beyond the edge
    repeat the edge, as by Keras' default `nearest`.

    Args:
        rotation: maximum angle to either side in degrees, drawn uniformly.
        shift: maximum shift in each direction as a fraction of the side, drawn uniformly.
        flip: probability of a horizontal flip.

    Raises:
        UserError: a value is outside [0, 180], [0, 1] or [0, 1].
    """

    rotation: float = 10.0
    shift: float = 0.1
    flip: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.rotation <= 180 and 0 <= self.shift <= 1 and 0 <= self.flip <= 1):
            raise UserError(
                "RandomAffine needs 0 <= rotation <= 180, 0 <= shift <= 1 and 0 <= flip <= 1, "
                f"got {self.rotation}, {self.shift}, {self.flip}"
            )

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        rotation, right, down, flip = torch.rand(4, generator=rng).tolist()
        square = _to_pixels(ResizedCenterCrop()(image, size, rng))
        angle = math.radians(_uniform(-self.rotation, self.rotation, rotation))
        cos, sin, center = math.cos(angle), math.sin(angle), (size - 1) / 2
        x, y = (_uniform(-self.shift, self.shift, draw) * size - center for draw in (right, down))
        matrix = np.array([[cos, -sin, cos * x - sin * y + center], [sin, cos, sin * x + cos * y + center]])
        if flip < self.flip:  # column c of the result becomes what column size - 1 - c was
            matrix[:, 2] += (size - 1) * matrix[:, 0]
            matrix[:, 0] *= -1
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(square, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return _to_tensor(np.asarray(warped, np.uint8))


@dataclass(frozen=True)
class LamaAugment(Transform):
    """LaMa's training augmentation, `distortions`: warps, a crop without resizing, and color changes. WaveMix uses it too.

    The steps below are applied in this order (Suvorov et al. 2021; advimman/lama @786f593, which uses albumentations 0.5.2 and
    imgaug). Each one except the crop is applied at random, with probability `warps` or `colors`:

    - perspective: each corner moves inwards by |N(0, s)| of width and height, with s drawn from [0, perspective];
    - affine: independent scaling along both axes, then shear, then rotation about the center, padded by reflection;
    - an image smaller than the crop is padded on all sides by reflection;
    - lens: a pixel at distance r from the center (each coordinate divided by its side) takes the value at r (1 + k r² + k r⁴),
      with k drawn from [-lens, lens];
    - a crop of the output's size at a random position, and a horizontal flip with probability `flip`;
    - contrast-limited adaptive histogram equalization of the lightness (CIELAB) on 8x8 tiles, its limit drawn from `clip`;
    - pixels times 1 ± contrast plus 255 times ± brightness;
    - hue (of 180), saturation and value (of 255) plus integers from ± hue, ± saturation, ± value.

    The warps are composed and resampled once, bilinearly; the public code resamples up to three times, which blurs more.

    Args:
        perspective: see above, in [0, 0.2].
        scale: minimum and maximum factor, positive. A larger factor shows a smaller part of the image.
        rotation: maximum angle to either side in degrees.
        shear: maximum angle to either side in degrees. The public code's 0.1 is in degrees too, so it has almost no effect.
        lens: in [0, 1).
        clip: minimum and maximum, positive.
        brightness: in [0, 1].
        contrast: in [0, 1].
        hue: in [0, 90].
        saturation: in [0, 255].
        value: in [0, 255].
        warps: probability of each of perspective, affine and lens.
        colors: probability of each of equalization, brightness with contrast, and hue with saturation and value.
        flip: probability of a horizontal flip.

    Raises:
        UserError: a value is out of range.
    """

    perspective: float = 0.06
    scale: tuple[float, float] = (0.7, 1.3)
    rotation: float = 40.0
    shear: float = 0.1
    lens: float = 0.05
    clip: tuple[float, float] = (1.0, 4.0)
    brightness: float = 0.2
    contrast: float = 0.2
    hue: float = 5.0
    saturation: float = 30.0
    value: float = 5.0
    warps: float = 0.5
    colors: float = 0.5
    flip: float = 0.5

    def __post_init__(self) -> None:
        for name, low, high in (
            ("perspective", 0.0, 0.2),
            ("rotation", 0.0, 180.0),
            ("shear", 0.0, 45.0),
            ("lens", 0.0, 0.99),
            ("brightness", 0.0, 1.0),
            ("contrast", 0.0, 1.0),
            ("hue", 0.0, 90.0),
            ("saturation", 0.0, 255.0),
            ("value", 0.0, 255.0),
            ("warps", 0.0, 1.0),
            ("colors", 0.0, 1.0),
            ("flip", 0.0, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"LamaAugment needs {low:g} <= {name} <= {high:g}, got {getattr(self, name)}")
        for name, (low, high) in (("scale", self.scale), ("clip", self.clip)):
            if not 0 < low <= high:
                raise UserError(f"LamaAugment needs 0 < {name}[0] <= {name}[1], got {(low, high)}")

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        use_perspective, use_affine, use_lens = (torch.rand(3, generator=rng) < self.warps).tolist()
        use_equalize, use_tone, use_hsv = (torch.rand(3, generator=rng) < self.colors).tolist()
        right, down, flip, lens, perspective, *affine = torch.rand(10, generator=rng).tolist()
        clip, gain, offset, *hsv_shifts = torch.rand(6, generator=rng).tolist()
        corners = torch.randn(4, 2, generator=rng).numpy()
        pixels = _to_pixels(image)
        image_size = (pixels.shape[1], pixels.shape[0])  # width before height, as x before y
        padded_size = (max(image_size[0], size), max(image_size[1], size))
        x = np.arange(size, dtype=np.float32)[None] + int(right * (padded_size[0] - size + 1))
        y = np.arange(size, dtype=np.float32)[:, None] + int(down * (padded_size[1] - size + 1))
        if flip < self.flip:
            x = x[:, ::-1]
        # Each pixel of the result is traced back to its source coordinates, so the steps of the docstring come in reverse.
        if use_lens:
            x, y = _lens_source(x, y, padded_size, _uniform(-self.lens, self.lens, lens))
            x, y = _reflect(x, padded_size[0]), _reflect(y, padded_size[1])
        x, y = x - (padded_size[0] - image_size[0]) // 2, y - (padded_size[1] - image_size[1]) // 2
        x, y = _reflect(x, image_size[0]), _reflect(y, image_size[1])
        if use_affine:
            x, y = _project(x, y, self._affine_source_matrix(image_size, affine))
            x, y = _reflect(x, image_size[0]), _reflect(y, image_size[1])
        if use_perspective and min(image_size) > 1:
            x, y = _project(x, y, _perspective_source_matrix(image_size, corners * self.perspective * perspective))
        x, y = (np.ascontiguousarray(np.broadcast_to(axis, (size, size)), np.float32) for axis in (x, y))
        square = np.asarray(cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.uint8)
        if use_equalize:
            square = _equalize(square, _uniform(*self.clip, clip))
        if use_tone:
            gain, offset = _uniform(-self.contrast, self.contrast, gain), _uniform(-self.brightness, self.brightness, offset)
            levels = np.arange(256) * (1 + gain) + 255 * offset
            square = np.asarray(cv2.LUT(square, levels.round().clip(0, 255).astype(np.uint8)), np.uint8)
        if use_hsv:
            limits = (self.hue, self.saturation, self.value)
            shifts = [round(_uniform(-limit, limit, draw)) for limit, draw in zip(limits, hsv_shifts, strict=True)]
            square = _shift_hsv(square, shifts)
        return _to_tensor(square)

    def _affine_source_matrix(self, image_size: tuple[int, int], draws: list[float]) -> Matrix:
        """Return the (3, 3) map from result to source coordinates.

        Args:
            image_size: width and height.
            draws: five draws from [0, 1): two for the scale, one for the angle, two for the shear.
        """
        scale = np.diag([_uniform(*self.scale, draw) for draw in draws[:2]])
        angle = math.radians(_uniform(-self.rotation, self.rotation, draws[2]))
        shear_y, shear_x = (math.tan(math.radians(_uniform(-self.shear, self.shear, draw))) for draw in draws[3:])
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        center = (np.array(image_size) - 1) / 2
        matrix = np.eye(3)
        matrix[:2, :2] = np.linalg.inv(rotation @ np.array([[1, shear_x], [shear_y, 1]]) @ scale)
        matrix[:2, 2] = center - matrix[:2, :2] @ center
        return matrix


def _uniform(low: float, high: float, draw: float) -> float:
    """Map a draw from [0, 1) to [low, high)."""
    return low + draw * (high - low)


def _to_pixels(image: Tensor) -> Pixels:
    """Convert (3, H, W) to (H, W, 3) for OpenCV. Memory is shared if the tensor is channels-last."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _to_tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _reflect(coordinates: Coordinates, side: int) -> Coordinates:
    """Reflect coordinates outside [0, side - 1] at the edges, without repeating the edge itself."""
    last = side - 1
    if last == 0:
        return np.zeros_like(coordinates)
    if coordinates.min() >= 0 and coordinates.max() <= last:
        return coordinates
    coordinates = np.abs(coordinates)
    coordinates -= 2 * last * np.floor(coordinates / (2 * last))  # `np.mod` takes five times as long
    reflected: Coordinates = last - np.abs(coordinates - last)
    return reflected


def _project(x: Coordinates, y: Coordinates, matrix: Matrix) -> tuple[Coordinates, Coordinates]:
    """Map coordinates by a projective (3, 3) matrix."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.astype(np.float32)
    denominator = g * x + h * y + i if g or h else i
    return (a * x + b * y + c) / denominator, (d * x + e * y + f) / denominator


def _lens_source(x: Coordinates, y: Coordinates, size: tuple[int, int], k: float) -> tuple[Coordinates, Coordinates]:
    """Map by OpenCV's radial distortion: both coefficients k, focal lengths width and height, principal point at the center."""
    (center_x, center_y), (width, height) = ((side - 1) / 2 for side in size), size
    x, y = (x - center_x) / width, (y - center_y) / height
    squared_radius = x * x + y * y
    factor = 1 + k * squared_radius + k * squared_radius * squared_radius
    return x * factor * width + center_x, y * factor * height + center_y


def _perspective_source_matrix(image_size: tuple[int, int], shifts: NDArray[np.float32]) -> Matrix:
    """Return the (3, 3) map from result to source for the warp that stretches a quadrilateral to the whole image.

    Args:
        image_size: width and height, both at least 2.
        shifts: (4, 2) distance of each corner of the quadrilateral from the image's corner, clockwise from the top left, as
            fractions of width and height. The sign is ignored.
    """
    last = np.array(image_size, np.float32) - 1
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    inner = corners + (1 - 2 * corners) * np.abs(shifts).clip(max=0.45)  # so that no two corners cross
    return np.asarray(cv2.getPerspectiveTransform((corners * last).astype(np.float32), (inner * last).astype(np.float32)))


def _equalize(pixels: Pixels, clip: float) -> Pixels:
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clip, (8, 8)).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def _shift_hsv(pixels: Pixels, shifts: list[int]) -> Pixels:
    levels = np.arange(256)
    table = np.stack([(levels + shifts[0]) % 180, *((levels + shift).clip(0, 255) for shift in shifts[1:])], axis=-1)
    hsv = cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), table.astype(np.uint8)[None])
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
