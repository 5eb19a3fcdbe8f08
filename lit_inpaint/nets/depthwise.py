"""Depthwise convolution whose gradients are right and fast on CPUs, where dilation and strides spoil them.

PyTorch 2.15 (oneDNN) has fast kernels for some depthwise convolutions only. On CPUs, in training:

- with dilation, in bfloat16 and channels-last, the gradient of the weights is wrong, up to uninitialised memory; in float32
  both gradients fall back to a kernel that is several times slower than the forward pass;
- with a stride, in bfloat16, both gradients fall back to such a kernel.

A convolution of dilation d, however, is d x d undilated ones, each over every d-th row and column. So while gradients are
wanted on a CPU, the map is cut into these, they go through one undilated convolution as d x d times as many samples, and the
results are woven together again: the same function of the same weights, differentiated by PyTorch itself. Under bfloat16
autocast a convolution with a stride is done in float32. `tests/benchmarks/depthwise.py` measures both.

Not here: a hand-written gradient of the weights for undilated layers, as one grouped convolution whose kernel is the whole map,
or as a sum of products for each tap. On the machine they were measured on (AVX-512, bfloat16 instructions) channels-last oneDNN
is 3 to 30 times faster than both on maps of 32 pixels and more, and no slower than the memory allows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


class DepthwiseConv2d(nn.Conv2d):
    """Each channel convolved with its own kernel: `nn.Conv2d` with as many groups as channels, the same weights and names.

    Args:
        channels: in and out.
        kernel_size: side of the kernel.
        stride: step of the kernel.
        padding: zeros around the map.
        dilation: distance of the kernel's taps; above 1 only without a stride.

    Raises:
        ValueError: a stride and a dilation.
    """

    def __init__(self, channels: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> None:
        if stride > 1 and dilation > 1:
            raise ValueError(f"a depthwise convolution of stride {stride} and dilation {dilation}; one of them must be 1")
        super().__init__(channels, channels, kernel_size, stride, padding, dilation, groups=channels)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H', W')."""
        if input.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(input)
        if self.dilation[0] > 1:
            margin = int(self.padding[0])
            return dilated_by_interleaving(pad(input, (margin,) * 4), self.weight, self.bias, self.dilation[0])
        with torch.autocast("cpu", enabled=torch.is_autocast_enabled("cpu") and self.stride[0] == 1):
            return super().forward(input.to(self.weight.dtype) if self.stride[0] > 1 else input)


def dilated_by_interleaving(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """`conv2d(x, weight, bias, dilation=dilation, groups=C)` by undilated convolutions.

    Args:
        x: (B, C, H, W), already padded.
        weight: (C, 1, k, k).
        bias: (C) or None.
        dilation: distance of the taps.

    Returns:
        (B, C, H - (k - 1) dilation, W - (k - 1) dilation).
    """
    batch, channels, height, width = x.shape
    reach = (weight.shape[-1] - 1) * dilation
    x = pad(x, (0, -width % dilation, 0, -height % dilation)).permute(0, 2, 3, 1)
    rows, columns = x.shape[1] // dilation, x.shape[2] // dilation
    x = x.reshape(batch, rows, dilation, columns, dilation, channels).permute(0, 2, 4, 5, 1, 3)
    y = conv2d(x.reshape(-1, channels, rows, columns), weight, bias, groups=channels)
    rows, columns = y.shape[2:]
    y = y.permute(0, 2, 3, 1).reshape(batch, dilation, dilation, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
    y = y.reshape(batch, rows * dilation, columns * dilation, channels).permute(0, 3, 1, 2)
    return y[:, :, : height - reach, : width - reach]
