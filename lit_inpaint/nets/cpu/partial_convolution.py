"""Partial convolution of upsampled features without upsampling them first."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_inpaint.nets.cpu.convolution import conv2d
from lit_inpaint.nets.partial_conv import PartialConv2d

_MIN_PIXELS = 1024  # of a batch's output map; on smaller ones the summed kernels cost more than they save


class CPUPartialConv2d(PartialConv2d):
    """`PartialConv2d` that convolves upsampled features at their own resolution."""

    def _convolve(self, emptied: Tensor, deeper: Tensor | None) -> Tensor:
        if deeper is None or not self._splits(emptied, deeper):
            return super()._convolve(emptied, deeper)
        weight, channels = self.conv.weight, deeper.shape[1]
        skipped = conv2d(emptied, weight[:, channels:], padding=1)
        return skipped.add_(conv2d_of_upsampled(deeper, weight[:, :channels]))

    def _splits(self, emptied: Tensor, deeper: Tensor) -> bool:
        """Return whether two convolutions, one at each resolution, are possible and faster."""
        batch, _, height, width = emptied.shape
        return (
            deeper.device.type == "cpu"
            and (self.kernel_size, self.stride, self.padding, self.dilation) == (3, 1, 1, 1)
            and (2 * deeper.shape[2], 2 * deeper.shape[3]) == (height, width)
            and batch * height * width >= _MIN_PIXELS
        )


def conv2d_of_upsampled(x: Tensor, weight: Tensor) -> Tensor:
    """Compute `conv2d(interpolate(x, scale_factor=2), weight, padding=1)`, nearest neighbor, as one convolution of `x`.

    A 3x3 window over doubled pixels covers 2x2 different ones. Each of the four positions of the window has a 2x2 kernel of
    summed weights: 16 products instead of 36.

    Args:
        x: (B, C, H, W).
        weight: (C', C, 3, 3).

    Returns:
        (B, C', 2 H, 2 W).
    """
    height, width = x.shape[-2:]
    kernels = _sum_taps(_sum_taps(weight, dim=3), dim=3).flatten(0, 2)  # (row, column, C'), C, 2, 2
    if weight.shape[1] > 1 and weight.stride(1) == 1:
        kernels = kernels.contiguous(memory_format=torch.channels_last)
    y = conv2d(x, kernels, padding=1).permute(0, 2, 3, 1).reshape(len(x), height + 1, width + 1, 2, 2, len(weight))
    rows = [torch.stack([y[:, i : i + height, j : j + width, i, j] for j in (0, 1)], dim=3) for i in (0, 1)]
    return torch.stack(rows, dim=2).flatten(1, 2).flatten(2, 3).permute(0, 3, 1, 2)


def _sum_taps(weight: Tensor, dim: int) -> Tensor:
    """Reduce three taps along `dim` to two, for the first and for the second of two equal pixels, stacked in front."""
    a, b, c = weight.unbind(dim)
    return torch.stack([torch.stack([a, b + c], dim), torch.stack([a + b, c], dim)])
