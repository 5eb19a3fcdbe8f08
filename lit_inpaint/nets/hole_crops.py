"""Crop images around their holes, for local discriminators."""

from __future__ import annotations

import torch
from torch import Tensor


def windows_around_holes(mask: Tensor, side: int, anywhere: bool = False) -> Tensor:
    """Place a square crop around the bounding box of each image's hole, within the image.

    Args:
        mask: (B, 1, H, W), 1 = hole; without a hole, the box is the image.
        side: of the crops, at most H and W.
        anywhere: at a random place among those that contain the box, or that the box contains; otherwise centered on it.

    Returns:
        (B, 2) row and column at which the crop of each image starts.
    """
    starts = []
    for axis in (3, 2):
        hole = mask.amax(dim=(1, axis)) > 0.5
        length = hole.shape[1]
        hole = hole.int()
        first, last = hole.argmax(dim=1), length - 1 - hole.flip(1).argmax(dim=1)
        if anywhere:
            ends = torch.stack([first, last + 1 - side]).clamp(0, length - side)
            low, high = ends.amin(dim=0), ends.amax(dim=0)
            start = low + (torch.rand(len(low), device=low.device) * (high - low + 1)).long().clamp(max=high - low)
        else:
            start = ((first + last + 1 - side) // 2).clamp(0, length - side)
        starts.append(start)
    return torch.stack(starts, dim=1)


def crop_windows(image: Tensor, windows: Tensor, side: int) -> Tensor:
    """Crop each image (B, C, H, W) at its window, a row of (B, 2), to (B, C, side, side)."""
    offsets = torch.arange(side, device=image.device)
    samples = torch.arange(len(image), device=image.device)[:, None, None]
    rows, columns = (windows[:, axis, None] + offsets for axis in (0, 1))
    return image.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
