"""Depthwise convolution whose gradients are right and fast on CPUs, where dilation and strides spoil them.

PyTorch 2.15 (oneDNN) has fast kernels for some depthwise convolutions only. On CPUs, in training:

- with dilation, in bfloat16 and channels-last, the gradient of the weights is wrong, up to uninitialised memory; in float32
  both gradients fall back to a kernel that is several times slower than the forward pass;
- with a stride, in bfloat16, both gradients fall back to such a kernel.

A convolution of dilation d, however, is d x d undilated ones, each over every d-th row and column. So while gradients are
wanted on a CPU, the map is cut into these, they go through one undilated convolution as d x d times as many samples, and the
results are woven together again: the same function of the same weights, differentiated by PyTorch itself. Under bfloat16
autocast a convolution with a stride is done in float32. `tests/benchmarks/depthwise.py` measures both.

On CPUs without AVX-512 the gradient of the weights is slow without dilation and stride, too, in float32: there it is taken as
one grouped convolution whose kernel is the whole map, in a ninth of the time (5x5, 128 channels, 48x48).

With AVX-512 that does not pay: on the machine that was measured (with bfloat16 instructions) channels-last oneDNN is 3 to 30
times faster on maps of 32 pixels and more, and no slower than the memory allows. A sum of products for each tap pays nowhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from lit_inpaint.nets.cpu.convolution import lacks_avx512, nchw


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
        if self._slow_without_avx512(input):
            margin = int(self.padding[0])
            output: Tensor = _GroupedGradient.apply(pad(input, (margin,) * 4), self.weight, self.bias)
            return output
        with torch.autocast("cpu", enabled=torch.is_autocast_enabled("cpu") and self.stride[0] == 1):
            return super().forward(input.to(self.weight.dtype) if self.stride[0] > 1 else input)

    def _slow_without_avx512(self, input: Tensor) -> bool:
        return (
            self.stride[0] == 1
            and input.ndim == 4
            and input.dtype == self.weight.dtype == torch.float32
            and self.weight.requires_grad
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and lacks_avx512()
        )


class _GroupedGradient(torch.autograd.Function):
    """A depthwise convolution without stride, dilation and padding; the gradient of its weights is one grouped convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return conv2d(x, weight, bias, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        of_input = None
        if ctx.needs_input_grad[0]:
            geometry = ((1, 1), (0, 0), (1, 1), False, (0, 0), len(weight))
            backward = torch.ops.aten.convolution_backward
            of_input = backward(gradient, x, weight, None, *geometry, (True, False, False))[0]
        maps, kernels = nchw(x).flatten(0, 1)[None], nchw(gradient).flatten(0, 1)[:, None]
        of_weight = conv2d(maps, kernels, groups=len(kernels))[0].view(*x.shape[:2], *weight.shape[2:]).sum(0)[:, None]
        return of_input, of_weight, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


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
