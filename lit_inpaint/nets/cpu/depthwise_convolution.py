"""Depthwise convolution with correct and fast gradients on CPUs.

PyTorch 2.15 (oneDNN) has fast CPU kernels for some depthwise convolutions only. In training on a CPU:

- With dilation, in bfloat16 and channels-last, the weight gradient is wrong, up to uninitialized memory. In float32 both
  gradients fall back to a kernel several times slower than the forward pass.
- With a stride, in bfloat16, both gradients fall back to such a kernel.

A convolution of dilation d equals d x d undilated convolutions, each over every d-th row and column. So where gradients are
enabled, the map is split into these d x d maps, which pass one undilated convolution as d x d times as many samples; the
results are interleaved again. PyTorch differentiates this itself. Under bfloat16 autocast, a convolution with a stride runs
in float32. `tests/benchmarks/depthwise.py` measures both.

On CPUs without AVX-512 the float32 weight gradient of kernels larger than 3x3 is slow without dilation and stride, too. There
it is computed as one grouped convolution whose kernel is the whole map, in a ninth of the time (5x5, 128 channels, 48x48). For
3x3 kernels this takes up to four times as long as oneDNN's kernel.

With AVX-512 that is slower for 3x3 kernels, whose channels-last weight gradient is limited by memory bandwidth. Larger kernels
take oneDNN's slow path. There the weight gradient of a k x k kernel consists of those of k x 3 kernels, on maps shifted by up
to k - 3 columns: 2.5 times as fast in float32 (5x5, 128 channels, 48x48), 10 times in bfloat16. A sum of products for each tap
is slower everywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from lit_inpaint.nets.cpu.convolution import lacks_avx512, nchw


class CPUDepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with one group for each channel, zero padding, and equal geometry in height and width."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H', W')."""
        if input.device.type != "cpu" or input.ndim != 4 or not torch.is_grad_enabled():
            return super().forward(input)
        margin, stride, dilation = int(self.padding[0]), self.stride[0], self.dilation[0]
        if dilation > 1:
            dense = conv2d_by_interleaving(pad(input, (margin,) * 4), self.weight, self.bias, dilation)
            return dense[..., ::stride, ::stride]
        if stride > 1:
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.to(self.weight.dtype))
        if self._has_slow_weight_gradient():
            return self._with_fast_weight_gradient(input, margin)
        return super().forward(input)

    def _has_slow_weight_gradient(self) -> bool:
        return self.kernel_size[0] > 3 and self.weight.requires_grad and not torch.compiler.is_compiling()

    def _with_fast_weight_gradient(self, x: Tensor, margin: int) -> Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias
        if torch.is_autocast_enabled("cpu"):
            precision = torch.get_autocast_dtype("cpu")
            x, weight = x.to(precision), weight.to(precision)
        form = _GroupedWeightGradient if x.dtype != torch.bfloat16 and lacks_avx512() else _WindowedWeightGradient
        with torch.autocast("cpu", enabled=False):
            output: Tensor = form.apply(pad(x, (margin,) * 4), weight, None if bias is None else bias.to(weight.dtype))
        return output


class _GroupedWeightGradient(torch.autograd.Function):
    """Depthwise convolution without stride, dilation or padding; its weight gradient is one grouped convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return conv2d(x, weight, bias, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        input_gradient = _backward(gradient, x, weight, (True, False, False))[0] if ctx.needs_input_grad[0] else None
        maps, kernels = nchw(x).flatten(0, 1)[None], nchw(gradient).flatten(0, 1)[:, None]
        of_samples = conv2d(maps, kernels, groups=len(kernels))[0].view(*x.shape[:2], *weight.shape[2:])
        return input_gradient, of_samples.sum(0)[:, None], gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


class _WindowedWeightGradient(torch.autograd.Function):
    """The same convolution; its weight gradient is that of k x 3 kernels on shifted maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return conv2d(x, weight, bias, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        input_gradient = _backward(gradient, x, weight, (True, False, False))[0] if ctx.needs_input_grad[0] else None
        weight_gradient, (taps, width) = torch.empty_like(weight), (weight.shape[3], gradient.shape[3])
        for left in {min(column, taps - 3) for column in range(0, taps, 3)}:
            window = x[..., left : left + width + 2].contiguous(memory_format=torch.channels_last)
            columns = weight[..., left : left + 3].contiguous(memory_format=torch.channels_last)
            weight_gradient[..., left : left + 3] = _backward(gradient, window, columns, (False, True, False))[1]
        return input_gradient, weight_gradient, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, mask: tuple[bool, bool, bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of input, weight and bias that `mask` selects, by PyTorch."""
    geometry = ((1, 1), (0, 0), (1, 1), False, (0, 0), len(weight))
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, mask)
    return gradients


def conv2d_by_interleaving(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Compute `conv2d(x, weight, bias, dilation=dilation, groups=C)` by undilated convolutions.

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
