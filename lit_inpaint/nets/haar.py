"""Haar wavelet transform, the token mixing of WaveMix (Jeevan, Viswanathan, Sethi 2022, arXiv 2205.14375)."""

from __future__ import annotations

import torch
from torch import Tensor


def haar(x: Tensor) -> Tensor:
    """Compute one level of the two-dimensional Haar transform: four bands of each 2x2 patch [[a, b], [c, d]] of a channel.

    The bands are LL = (a + b + c + d) / 2, LH = (a + b - c - d) / 2, HL = (a - b + c - d) / 2 and HH = (a - b - c + d) / 2.
    The map is orthogonal, so it preserves energy. For the next level, transform the LL channels, which come first.

    Args:
        x: (B, C, H, W), H and W even.

    Returns:
        (B, 4 C, H / 2, W / 2), in the channel order of WaveMix's public code: LL of all channels, then LH, HL, HH of the first
        channel, LH, HL, HH of the second, and so on.
    """
    top, bottom = x[..., ::2, :], x[..., 1::2, :]
    total, difference = (top + bottom) / 2, (top - bottom) / 2
    low, hl = _sum_and_difference(total)
    lh, hh = _sum_and_difference(difference)
    return torch.cat([low, torch.stack([lh, hl, hh], dim=2).flatten(1, 2)], dim=1)


def _sum_and_difference(x: Tensor) -> tuple[Tensor, Tensor]:
    """Add and subtract neighboring columns."""
    left, right = x[..., ::2], x[..., 1::2]
    return left + right, left - right
