"""Views that turn, warp and recolour pictures, as some papers train: geometry is drawn first and resampled once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.data.transforms.crops import ResizedCenterCrop, Transform
from lit_inpaint.errors import UserError

Pixels = NDArray[np.uint8]
Places = NDArray[np.floating[Any]]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class RandomAffine(Transform):
    """The largest centred square, resized, then turned and shifted a little, perhaps mirrored.

    So does the Keras port of partial convolutions (MathiasGruber/PConv-Keras: `ImageDataGenerator` with `rotation_range=10`,
    `width_shift_range` and `height_shift_range` 0.1, `horizontal_flip`). What comes into sight from beyond the edge repeats the
    edge's pixels, Keras' default (`nearest`).

    Args:
        rotation: greatest angle to either side in degrees, drawn uniformly.
        shift: greatest shift in each direction as a fraction of the side, drawn uniformly.
        flip: probability of mirroring left to right.

    Raises:
        UserError: values outside [0, 180], [0, 1] and [0, 1].
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
        turn, right, down, coin = torch.rand(4, generator=rng).tolist()
        square = _pixels(ResizedCenterCrop()(image, size, rng))
        angle = math.radians(_between(-self.rotation, self.rotation, turn))
        cos, sin, centre = math.cos(angle), math.sin(angle), (size - 1) / 2
        x, y = (_between(-self.shift, self.shift, draw) * size - centre for draw in (right, down))
        matrix = np.array([[cos, -sin, cos * x - sin * y + centre], [sin, cos, sin * x + cos * y + centre]])
        if coin < self.flip:  # the new pixel in column c shows what column size - 1 - c would
            matrix[:, 2] += (size - 1) * matrix[:, 0]
            matrix[:, 0] *= -1
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        turned = cv2.warpAffine(square, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return _tensor(np.asarray(turned, np.uint8))


@dataclass(frozen=True)
class LamaAugment(Transform):
    """LaMa's training view, `distortions`: warps, a crop at the picture's own resolution, colour. WaveMix trains "as LaMa".

    In this order, each but the crop taken or left out by `warps` or `colours` (Suvorov et al. 2021; advimman/lama @786f593,
    which stands on albumentations 0.5.2 and imgaug):

    - perspective: each corner moves inwards by |N(0, s)| of width and height, s drawn from [0, perspective];
    - scale along both axes, apart, then shear, then rotation about the centre; beyond its edges the picture is mirrored;
    - a picture smaller than the crop is continued by its mirror image on all sides;
    - lens: a pixel at distance r from the centre (each coordinate over its side) shows what lies at r (1 + k r² + k r⁴), k from
      [-lens, lens];
    - a crop of the output's size from anywhere, and mirroring by `flip`;
    - contrast-limited adaptive histogram equalisation of the lightness (CIELAB) on 8x8 tiles, its limit from `clip`;
    - pixels times 1 ± contrast plus 255 times ± brightness;
    - hue (of 180), saturation and value (of 255) plus whole numbers from ± hue, ± saturation, ± value.

    The warps are joined and resampled once, bilinearly; the public code resamples up to three times, which blurs more.

    Args:
        perspective: see above, in [0, 0.2].
        scale: least and greatest factor, positive; greater shows less of the picture.
        rotation: degrees to either side.
        shear: degrees to either side. The public code's 0.1 is in degrees too, so it does next to nothing.
        lens: in [0, 1).
        clip: positive.
        brightness: in [0, 1].
        contrast: in [0, 1].
        hue: in [0, 90].
        saturation: in [0, 255].
        value: in [0, 255].
        warps: probability of each of perspective, affine map and lens.
        colours: probability of each of equalisation, brightness with contrast, and hue with saturation and value.
        flip: probability of mirroring left to right.

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
    colours: float = 0.5
    flip: float = 0.5

    def __post_init__(self) -> None:
        for name, least, greatest in (
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
            ("colours", 0.0, 1.0),
            ("flip", 0.0, 1.0),
        ):
            if not least <= getattr(self, name) <= greatest:
                raise UserError(f"Distortions needs {least:g} <= {name} <= {greatest:g}, got {getattr(self, name)}")
        for name, (least, greatest) in (("scale", self.scale), ("clip", self.clip)):
            if not 0 < least <= greatest:
                raise UserError(f"Distortions needs 0 < {name}[0] <= {name}[1], got {(least, greatest)}")

    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """See `Transform`."""
        perspective, affine, lens = (torch.rand(3, generator=rng) < self.warps).tolist()
        equalised, toned, tinted = (torch.rand(3, generator=rng) < self.colours).tolist()
        right, down, mirror, bend, depth, *form = torch.rand(10, generator=rng).tolist()
        limit, gain, offset, *tints = torch.rand(6, generator=rng).tolist()
        corners = torch.randn(4, 2, generator=rng).numpy()
        pixels = _pixels(image)
        extent = (pixels.shape[1], pixels.shape[0])  # width before height, as x before y
        frame = (max(extent[0], size), max(extent[1], size))
        x = np.arange(size, dtype=np.float32)[None] + int(right * (frame[0] - size + 1))
        y = np.arange(size, dtype=np.float32)[:, None] + int(down * (frame[1] - size + 1))
        if mirror < self.flip:
            x = x[:, ::-1]
        # Each place of the new picture is followed back to where it comes from: the last of the steps above is the first here.
        if lens:
            x, y = _through_lens(x, y, frame, _between(-self.lens, self.lens, bend))
            x, y = _mirrored(x, frame[0]), _mirrored(y, frame[1])
        x, y = x - (frame[0] - extent[0]) // 2, y - (frame[1] - extent[1]) // 2
        x, y = _mirrored(x, extent[0]), _mirrored(y, extent[1])
        if affine:
            x, y = _transformed(x, y, self._affine(extent, form))
            x, y = _mirrored(x, extent[0]), _mirrored(y, extent[1])
        if perspective and min(extent) > 1:
            x, y = _transformed(x, y, _inwards(extent, corners * self.perspective * depth))
        x, y = (np.ascontiguousarray(np.broadcast_to(places, (size, size)), np.float32) for places in (x, y))
        square = np.asarray(cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.uint8)
        if equalised:
            square = _equalised(square, _between(*self.clip, limit))
        if toned:
            gain, offset = _between(-self.contrast, self.contrast, gain), _between(-self.brightness, self.brightness, offset)
            levels = np.arange(256) * (1 + gain) + 255 * offset
            square = np.asarray(cv2.LUT(square, levels.round().clip(0, 255).astype(np.uint8)), np.uint8)
        if tinted:
            most = (self.hue, self.saturation, self.value)
            square = _tinted(square, [round(_between(-end, end, draw)) for end, draw in zip(most, tints, strict=True)])
        return _tensor(square)

    def _affine(self, extent: tuple[int, int], draws: list[float]) -> Matrix:
        """From the new picture's places to the old one's; five draws from [0, 1): scale twice, angle, shear twice."""
        scale = np.diag([_between(*self.scale, draw) for draw in draws[:2]])
        angle = math.radians(_between(-self.rotation, self.rotation, draws[2]))
        down, along = (math.tan(math.radians(_between(-self.shear, self.shear, draw))) for draw in draws[3:])
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        centre = (np.array(extent) - 1) / 2
        back = np.eye(3)
        back[:2, :2] = np.linalg.inv(rotation @ np.array([[1, along], [down, 1]]) @ scale)
        back[:2, 2] = centre - back[:2, :2] @ centre
        return back


def _between(least: float, greatest: float, draw: float) -> float:
    return least + draw * (greatest - least)


def _pixels(image: Tensor) -> Pixels:
    """(3, H, W) to (H, W, 3), whose channels lie side by side: OpenCV's order. Shares memory where it lies so already."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _mirrored(places: Places, extent: int) -> Places:
    """Places outside [0, extent - 1] as their mirror image inside; the edge itself is not repeated."""
    last = extent - 1
    if last == 0:
        return np.zeros_like(places)
    if places.min() >= 0 and places.max() <= last:
        return places
    places = np.abs(places)
    places -= 2 * last * np.floor(places / (2 * last))  # `np.mod` takes five times as long
    inside: Places = last - np.abs(places - last)
    return inside


def _transformed(x: Places, y: Places, matrix: Matrix) -> tuple[Places, Places]:
    """Places mapped by a projective (3, 3) matrix."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.astype(np.float32)
    below = g * x + h * y + i if g or h else i
    return (a * x + b * y + c) / below, (d * x + e * y + f) / below


def _through_lens(x: Places, y: Places, extent: tuple[int, int], k: float) -> tuple[Places, Places]:
    """OpenCV's radial distortion with both coefficients k, focal lengths of width and height, and the centre in the middle."""
    (right, down), (width, height) = ((n - 1) / 2 for n in extent), extent
    x, y = (x - right) / width, (y - down) / height
    square = x * x + y * y
    factor = 1 + k * square + k * square * square
    return x * factor * width + right, y * factor * height + down


def _inwards(extent: tuple[int, int], steps: NDArray[np.float32]) -> Matrix:
    """Of the map that stretches a quadrangle to the whole picture, the way back; corners clockwise from the top left.

    Args:
        extent: width and height, both at least 2.
        steps: (4, 2), how far inwards each corner of the quadrangle lies, as fractions of width and height; of any sign.
    """
    last = np.array(extent, np.float32) - 1
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    inner = corners + (1 - 2 * corners) * np.abs(steps).clip(max=0.45)  # so that no two corners cross
    return np.asarray(cv2.getPerspectiveTransform((corners * last).astype(np.float32), (inner * last).astype(np.float32)))


def _equalised(pixels: Pixels, limit: float) -> Pixels:
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(limit, (8, 8)).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def _tinted(pixels: Pixels, shifts: list[int]) -> Pixels:
    levels = np.arange(256)
    table = np.stack([(levels + shifts[0]) % 180, *((levels + shift).clip(0, 255) for shift in shifts[1:])], axis=-1)
    hsv = cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), table.astype(np.uint8)[None])
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
