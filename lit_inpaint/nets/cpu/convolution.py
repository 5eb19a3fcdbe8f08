"""Convolutions whose weights learn faster on CPUs without AVX-512.

There oneDNN (PyTorch 2.15) computes the gradient of channels-last weights 1.4 to 4 times as slowly as that of NCHW ones, though
everything else is faster channels-last. So in training there, in float32, that gradient alone is taken in NCHW, from copies:
the same function, the same weights and names. `tests/benchmarks/public_code.py` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _pays(input, weight) or self.groups > 1:
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, self.padding_mode), (0, 0)
        output: Tensor = _Convolution.apply(input, weight, bias, self.stride, padding, self.dilation, False)
        return output


class ConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        if not _pays(input, self.weight) or self.groups > 1 or output_size is not None or any(self.output_padding):
            return super().forward(input, output_size)
        output: Tensor = _Convolution.apply(input, self.weight, self.bias, self.stride, self.padding, self.dilation, True)
        return output


def conv2d(input: Tensor, weight: Tensor, padding: int) -> Tensor:
    """`torch.nn.functional.conv2d` without bias."""
    if not _pays(input, weight):
        return F.conv2d(input, weight, padding=padding)
    output: Tensor = _Convolution.apply(input, weight, None, (1, 1), (padding, padding), (1, 1), False)
    return output


def nchw(x: Tensor) -> Tensor:
    """`x.contiguous()`, but for wide channels-last maps on CPUs by transposing matrices, in half the time."""
    batch, channels, height, width = x.shape
    if channels < 16 or not x.is_contiguous(memory_format=torch.channels_last):
        return x.contiguous()
    copy = x.new_empty(batch, channels, height * width)
    for target, source in zip(copy, x.permute(0, 2, 3, 1).view(batch, height * width, channels), strict=True):
        target.copy_(source.t())
    return copy.view(x.shape)


def lacks_avx512() -> bool:
    """Whether this is the kind of CPU that was measured: one with AVX2 alone."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def _pays(input: Tensor, weight: Tensor) -> bool:
    """Whether the gradient of the weights will be asked for, and is slow."""
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


class _Convolution(torch.autograd.Function):
    """A convolution, the gradient of whose weights is taken in NCHW."""

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
        to_input, to_weight, to_bias = ctx.needs_input_grad[:3]
        backward, widths = torch.ops.aten.convolution_backward, [gradient.shape[1]]
        of_input, of_weight, of_bias = None, None, None
        if to_input:
            of_input = backward(gradient, x, weight, None, *ctx.geometry, (True, False, False))[0]
        if to_weight or to_bias:
            operands = (nchw(gradient), nchw(x), weight.contiguous())
            _, of_weight, of_bias = backward(*operands, widths, *ctx.geometry, (False, to_weight, to_bias))
        return of_input, of_weight, of_bias, None, None, None, None
