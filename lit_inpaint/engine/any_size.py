"""Large images as several small ones: every k-th pixel in each direction, one small image for each of the k² places to start.

Also known as polyphase sub-sampling, or space to depth. Each small image shows the whole scene.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def fill_subsampled(fill: Callable[[Tensor, Tensor], Tensor], image: Tensor, mask: Tensor, size: int) -> Tensor:
    """Complete images of any size by a network for small square ones.

    The image is resized to the nearest multiples of `size`, taken apart into small ones, each of which is completed by itself,
    put together and resized back. A pixel into which any part of a hole falls is hole.

    Args:
        fill: image (1, 3, size, size) and mask (1, 1, size, size), 1 = hole, to the completed image.
        image: (B, 3, H, W) in [0, 1]; what its holes hold is resized with the rest.
        mask: (B, 1, H, W), 1 = hole.
        size: side of the small images.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    height, width = image.shape[-2:]
    rows, columns = (max(1, round(side / size)) for side in (height, width))
    near = (rows * size, columns * size)
    if near != (height, width):
        image = bicubic(image, near)
        mask = interpolate(mask, near, mode="bilinear", antialias=True).gt(0).to(mask)
    parts, holes = subsample(image, rows, columns), subsample(mask, rows, columns)
    filled = [fill(part, hole) for part, hole in zip(parts[:, None], holes[:, None], strict=True)]
    return bicubic(regroup(torch.cat(filled), rows, columns), (height, width))


def bicubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) in [0, 1] to (B, C, *size), over the full footprint of each new pixel; what overshoots is cut off."""
    return interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)


def subsample(image: Tensor, rows: int, columns: int) -> Tensor:
    """(B, C, H, W) to (B rows columns, C, H / rows, W / columns), whose number (b rows + i) columns + j starts at pixel (i, j).

    Args:
        image: H a multiple of `rows`, W of `columns`.
        rows: every so many rows one is taken.
        columns: every so many columns one is taken.
    """
    batch, channels, height, width = image.shape
    parts = image.reshape(batch, channels, height // rows, rows, width // columns, columns)
    return parts.permute(0, 3, 5, 1, 2, 4).flatten(0, 2)


def regroup(parts: Tensor, rows: int, columns: int) -> Tensor:
    """What `subsample` took apart: (B rows columns, C, h, w) to (B, C, h rows, w columns)."""
    count, channels, height, width = parts.shape
    grouped = parts.reshape(count // (rows * columns), rows, columns, channels, height, width)
    return grouped.permute(0, 3, 4, 1, 5, 2).reshape(-1, channels, height * rows, width * columns)
