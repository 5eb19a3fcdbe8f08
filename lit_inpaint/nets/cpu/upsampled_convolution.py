"""3x3 convolutions of upsampled maps without upsampling them first."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lit_inpaint.nets.cpu.convolution import conv2d, pad
from lit_inpaint.nets.padding import PaddedConv2d

_MIN_PIXELS = 1024  # of a batch's output map; on smaller ones the summed kernels cost more than they save


class CPUPaddedConv2d(PaddedConv2d):
    """`PaddedConv2d` that convolves a map at its own resolution instead of upsampling it."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) to (B, c_out, 2 H, 2 W)."""
        if not self._is_fast(x):
            return super().forward(x)
        # Reflection repeats the pixel at the edge, since upsampling has doubled it.
        output = conv2d_of_upsampled(x, self.conv.weight, "replicate" if self.padding == "reflect" else "zeros")
        return output if self.conv.bias is None else output + self.conv.bias.to(output.dtype).view(-1, 1, 1)

    def _is_fast(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and self.upsample
            and self.padding != "same"
            and (self.conv.kernel_size, self.conv.stride, self.conv.dilation) == ((3, 3), (1, 1), (1, 1))
            and 4 * len(x) * x.shape[2] * x.shape[3] >= _MIN_PIXELS
            and not torch.compiler.is_compiling()
        )


def conv2d_of_upsampled(x: Tensor, weight: Tensor, edges: Literal["zeros", "replicate"] = "zeros") -> Tensor:
    """Compute `conv2d(interpolate(x, scale_factor=2), weight, padding=1)`, nearest neighbor, as one convolution of `x`.

    A 3x3 window over doubled pixels covers 2x2 different ones. Each of the four positions of the window has a 2x2 kernel of
    summed weights: 16 products instead of 36.

    Args:
        x: (B, C, H, W).
        weight: (C', C, 3, 3).
        edges: padding of the upsampled map by one pixel.

    Returns:
        (B, C', 2 H, 2 W).
    """
    height, width = x.shape[-2:]
    kernels = _sum_taps(_sum_taps(weight, dim=3), dim=3).flatten(0, 2)  # (row, column, C'), C, 2, 2
    if weight.shape[1] > 1 and weight.stride(1) == 1:
        kernels = kernels.contiguous(memory_format=torch.channels_last)
    y = conv2d(pad(x, (1, 1, 1, 1), edges), kernels, 0) if edges == "replicate" else conv2d(x, kernels, 1)
    # A window between two rows of `x` yields the second row of the doubled upper one and the first of the doubled lower one.
    y = y.permute(0, 2, 3, 1).reshape(len(x), height + 1, width + 1, 2, 2, len(weight)).transpose(2, 3)
    return y.reshape(len(x), 2 * height + 2, 2 * width + 2, len(weight))[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


def _sum_taps(weight: Tensor, dim: int) -> Tensor:
    """Reduce three taps along `dim` to two, for the second and for the first of two equal pixels, stacked in front."""
    a, b, c = weight.unbind(dim)
    return torch.stack([torch.stack([a + b, c], dim), torch.stack([a, b + c], dim)])
