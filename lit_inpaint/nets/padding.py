"""Pad feature maps as TensorFlow's "SAME" does, and by repeated reflection."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn.functional import interpolate, pad

Padding = Literal["same", "symmetric", "reflect"]


def reflect_pad(x: Tensor, padding: int) -> Tensor:
    """Reflect (B, C, H, W), by `padding` pixels on each side, repeatedly where one reflection is too short; sides >= 2."""
    if torch.compiler.is_exporting():
        return _reflect_in_graph(x, padding)
    vertical = horizontal = padding
    while vertical or horizontal:
        v, h = min(vertical, x.shape[-2] - 1), min(horizontal, x.shape[-1] - 1)
        x = pad(x, (h, h, v, v), mode="reflect")
        vertical, horizontal = vertical - v, horizontal - h
    return x


def _reflect_in_graph(x: Tensor, padding: int) -> Tensor:
    """Do as `reflect_pad` without a loop over the size; gathers rows and columns where one reflection may be too short."""
    if all(statically_known_true(side > padding) for side in x.shape[-2:]):
        return pad(x, (padding,) * 4, mode="reflect")
    for dim in (2, 3):
        # A tensor: ONNX has no remainder by a free number.
        period = torch.full((), 2 * (x.shape[dim] - 1), dtype=torch.int64, device=x.device)
        index = torch.arange(-padding, x.shape[dim] + padding, device=x.device).remainder(period)
        x = x.index_select(dim, torch.minimum(index, period - index))
    return x


def pad_same(x: Tensor, kernel: int = 5, stride: int = 2) -> Tensor:
    """Pad (B, C, H, W) with zeros as TensorFlow's "SAME" does: to ceil(side / stride) outputs, the larger half at the end."""
    totals = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    return pad(x, (left, right, top, bottom))


class PaddedConv2d(nn.Module):
    """A convolution of odd kernel size whose output has the side of its input, divided by the stride, or doubled.

    Args:
        c_in: channels of the input.
        c_out: channels of the output.
        kernel: odd size of the kernel.
        stride: 1 or 2.
        dilation: of the kernel; 1 with stride 2.
        padding: "symmetric": zeros, equally many on all sides. "same": zeros as TensorFlow's "SAME" places them, which is
            symmetric except at stride 2. "reflect": symmetric reflection, repeated where the map is small.
        upsample: double the map's sides first, nearest neighbor.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        padding: Padding = "same",
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.margin = kernel // 2 * dilation
        self.padding: Padding = "symmetric" if padding == "same" and stride == 1 else padding
        inner = self.margin if self.padding == "symmetric" else 0
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, inner, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) to (B, c_out, ceil(H / stride), ceil(W / stride)), with `upsample` of twice the sides."""
        if self.upsample:
            x = interpolate(x, scale_factor=2.0, mode="nearest")
        if self.padding == "same":
            x = pad_same(x, self.conv.kernel_size[0], self.conv.stride[0])
        elif self.padding == "reflect":
            x = reflect_pad(x, self.margin)
        output: Tensor = self.conv(x)
        return output
