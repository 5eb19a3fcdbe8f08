"""Convolutions that are faster on CPUs: those to few channels, wide 3x3 and 4x4 ones, and the weight gradient without AVX-512.

oneDNN computes 16 output channels at a time (8 without AVX-512), of which a convolution to an RGB image uses 3. Below, each row
of the kernel has output channels of its own, which are then shifted and added: 2 to 3 times as fast, forward and backward.

On CPUs without AVX-512 oneDNN (PyTorch 2.15) computes the gradient of channels-last weights 1.4 to 4 times as slowly as that of
NCHW weights; everything else is faster in channels-last. In float32 training on such CPUs, the layers below compute that
gradient alone in NCHW, from copies. `tests/benchmarks/public_code.py` measures both effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_inpaint.nets.cpu import winograd

_FEW = 4  # output channels


class CPUConv2d(nn.Conv2d):
    """`nn.Conv2d` with one group; few output channels, wide 3x3 and 4x4 kernels and the weight gradient have faster forms."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = pad(input, self._reversed_padding_repeated_twice, self.padding_mode), (0, 0)
        if self._has_wrong_weight_gradient(input, padding):
            with torch.autocast("cpu", enabled=False):
                bias = None if bias is None else bias.float()
                exact = F.conv2d(input.float(), weight.float(), bias, self.stride, padding, self.dilation)
                return exact.to(torch.bfloat16)
        if self._has_few_outputs(input, weight):
            return _convolve_to_few(input, weight, bias, padding)
        if self._is_wide(input, weight, padding):
            return winograd.convolve(input, weight, bias, padding[0], self.dilation[0])
        if _has_slow_weight_gradient(input, weight):
            output: Tensor = _NCHWWeightGradient.apply(input, weight, bias, self.stride, padding, self.dilation, False)
            return output
        return F.conv2d(input, weight, bias, self.stride, padding, self.dilation)

    def _has_wrong_weight_gradient(self, input: Tensor, padding: Any) -> bool:
        """Return whether oneDNN (PyTorch 2.15) leaves a bfloat16 weight gradient partly uninitialized, as on 1x1 maps."""
        return (
            input.device.type == "cpu"
            and max(self.stride) > 1
            and not isinstance(padding, str)
            and any(side <= margin for side, margin in zip(input.shape[-2:], padding, strict=True))
            and (torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype) == torch.bfloat16
        )

    def _is_wide(self, input: Tensor, weight: Tensor, padding: Any) -> bool:
        return (
            input.device.type == "cpu"
            and input.ndim == 4
            and input.dtype == weight.dtype == torch.float32
            and self.kernel_size in ((3, 3), (4, 4))
            and self.stride == (1, 1)
            and self.dilation[0] == self.dilation[1]
            and padding[0] == padding[1] <= (self.kernel_size[0] - 1) * self.dilation[0]
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and winograd.is_faster(input, weight, padding[0], self.dilation[0])
        )

    def _has_few_outputs(self, input: Tensor, weight: Tensor) -> bool:
        return (
            input.device.type == "cpu"
            and input.ndim == 4
            and weight.shape[0] <= _FEW
            and weight.shape[2] > 1
            and self.stride == self.dilation == (1, 1)
            and not weight.is_contiguous()
            and not torch.compiler.is_compiling()
        )


class CPUConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with one group; few output channels and the weight gradient have faster forms."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        if output_size is not None or any(self.output_padding):
            return super().forward(input, output_size)
        if self._has_few_outputs(input):
            # Without a stride it is a convolution with the kernel turned by 180 degrees.
            padding: Any = self.padding
            margins = (self.kernel_size[0] - 1 - padding[0], self.kernel_size[1] - 1 - padding[1])
            return _convolve_to_few(input, self.weight.flip(2, 3).transpose(0, 1), self.bias, margins)
        if not _has_slow_weight_gradient(input, self.weight):
            return super().forward(input)
        arguments = (self.stride, self.padding, self.dilation, True)
        output: Tensor = _NCHWWeightGradient.apply(input, self.weight, self.bias, *arguments)
        return output

    def _has_few_outputs(self, input: Tensor) -> bool:
        padding: Any = self.padding
        return (
            input.device.type == "cpu"
            and input.ndim == 4
            and self.out_channels <= _FEW
            and self.kernel_size[0] > 1
            and self.stride == self.dilation == (1, 1)
            and all(margin < side for margin, side in zip(padding, self.kernel_size, strict=True))
            and not self.weight.is_contiguous()
            and not torch.compiler.is_compiling()
        )


def pad(input: Tensor, widths: Sequence[int], mode: str) -> Tensor:
    """Pad; under autocast on a CPU in the precision of the convolution that follows, not in float32 as torch does."""
    if mode == "replicate" and torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        return _repeat_edges(input, widths)
    if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return F.pad(input, widths, mode)
    with torch.autocast("cpu", enabled=False):
        return F.pad(input.to(torch.get_autocast_dtype("cpu")), widths, mode)


def _repeat_edges(input: Tensor, widths: Sequence[int]) -> Tensor:
    """Pad (B, C, H, W) by its edges; `torch.compile` (PyTorch 2.15) expects torch's gradient of channels-last maps as NCHW."""
    left, right, top, bottom = widths
    for dim, before, after in ((3, left, right), (2, top, bottom)):
        first, last = input.narrow(dim, 0, 1), input.narrow(dim, -1, 1)
        input = torch.cat([first] * before + [input] + [last] * after, dim)
    return input


def _convolve_to_few(input: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """Convolve to few channels with stride 1: convolve with all rows of the kernel at once, shift the results and add them."""
    c_out, c_in, rows, columns = weight.shape
    kernels = weight.permute(2, 0, 1, 3).reshape(rows * c_out, c_in, 1, columns).contiguous(memory_format=torch.channels_last)
    if _has_slow_weight_gradient(input, kernels):
        parts: Tensor = _NCHWWeightGradient.apply(input, kernels, None, (1, 1), padding, (1, 1), False)
    else:
        parts = F.conv2d(input, kernels, padding=padding)
    height = parts.shape[2] - rows + 1
    summands = torch.split(parts.to(torch.promote_types(parts.dtype, torch.float32)), c_out, dim=1)
    output: Tensor = summands[0][:, :, :height]
    for row, part in enumerate(summands[1:], start=1):
        output = output + part[:, :, row : row + height]
    if bias is not None:
        output = output + bias.view(1, -1, 1, 1)
    return output.to(parts.dtype)


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
