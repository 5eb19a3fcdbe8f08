"""Convolutions with a faster weight gradient on CPUs without AVX-512.

On these CPUs oneDNN (PyTorch 2.15) computes the gradient of channels-last weights 1.4 to 4 times as slowly as that of NCHW
weights; everything else is faster in channels-last. In float32 training on such CPUs, the layers below compute that gradient
alone in NCHW, from copies. `tests/benchmarks/public_code.py` measures the effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CPUConv2d(nn.Conv2d):
    """`nn.Conv2d` with one group; computes the weight gradient in NCHW where that is faster."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _has_slow_weight_gradient(input, weight):
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, self.padding_mode), (0, 0)
        output: Tensor = _NCHWWeightGradient.apply(input, weight, bias, self.stride, padding, self.dilation, False)
        return output


class CPUConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with one group; computes the weight gradient in NCHW where that is faster."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        if not _has_slow_weight_gradient(input, self.weight) or output_size is not None or any(self.output_padding):
            return super().forward(input, output_size)
        arguments = (self.stride, self.padding, self.dilation, True)
        output: Tensor = _NCHWWeightGradient.apply(input, self.weight, self.bias, *arguments)
        return output


def conv2d(input: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Compute `torch.nn.functional.conv2d` without bias; the weight gradient is that of `CPUConv2d`."""
    if not _has_slow_weight_gradient(input, weight):
        return F.conv2d(input, weight, padding=padding)
    output: Tensor = _NCHWWeightGradient.apply(input, weight, None, (1, 1), (padding, padding), (1, 1), False)
    return output


def nchw(x: Tensor) -> Tensor:
    """Return `x.contiguous()`; a wide channels-last map on a CPU is copied as transposed matrices, in half the time."""
    batch, channels, height, width = x.shape
    if channels < 16 or not x.is_contiguous(memory_format=torch.channels_last):
        return x.contiguous()
    copy = x.new_empty(batch, channels, height * width)
    for target, source in zip(copy, x.permute(0, 2, 3, 1).view(batch, height * width, channels), strict=True):
        target.copy_(source.t())
    return copy.view(x.shape)


def lacks_avx512() -> bool:
    """Return whether PyTorch runs its AVX2 kernels, the case in which the layers of this folder were measured."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def _has_slow_weight_gradient(input: Tensor, weight: Tensor) -> bool:
    """Return whether a backward pass would compute the weight gradient, and slowly."""
    return (
        input.device.type == "cpu"
        and input.ndim == 4
        and input.dtype == weight.dtype == torch.float32
        and torch.is_grad_enabled()
        and weight.requires_grad
        and not weight.is_contiguous()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and lacks_avx512()
    )


class _NCHWWeightGradient(torch.autograd.Function):
    """A convolution, transposed or not, whose weight gradient is computed in NCHW."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, dilation, transposed, (0, 0), 1)
        return torch.convolution(x, weight, bias, *ctx.geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        backward, widths = torch.ops.aten.convolution_backward, [gradient.shape[1]]
        input_gradient, weight_gradient, bias_gradient = None, None, None
        if needs_input:
            input_gradient = backward(gradient, x, weight, None, *ctx.geometry, (True, False, False))[0]
        if needs_weight or needs_bias:
            operands = (nchw(gradient), nchw(x), weight.contiguous())
            mask = (False, needs_weight, needs_bias)
            _, weight_gradient, bias_gradient = backward(*operands, widths, *ctx.geometry, mask)
        return input_gradient, weight_gradient, bias_gradient, None, None, None, None
