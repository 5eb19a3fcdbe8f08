"""Instance norm that keeps channels-last maps on CPUs.

Torch's kernel (PyTorch 2.15) copies channels-last maps to NCHW and returns NCHW, which the next convolution copies back. Group
norm with one channel in each group is the same function. Its NCHW kernel is faster; its channels-last kernel is less accurate
and has a slow gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm


class CPUInstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without parameters and running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape and memory layout."""
        if input.device.type != "cpu" or input.ndim != 4 or torch.compiler.is_compiling():
            return super().forward(input)
        if _is_channels_last(input):
            normalized: Tensor = _ChannelsLast.apply(input, self.eps)
            return normalized
        return group_norm(input, input.shape[1], eps=self.eps)


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _sums(x: Tensor) -> Tensor:
    """Add up a channels-last map (B, C, H, W) over its pixels by rows of pixels: (B, C, 1, 1) float64.

    Matrix products are much faster here than torch's reductions, and one sum over all pixels would be less accurate.
    """
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).view(batch * height, width, channels)
    return (x.new_ones(1, 1, width).expand(batch * height, -1, -1) @ rows).view(batch, height, channels, 1, 1).double().sum(1)


def _center(x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean (B, C, 1, 1) float64, rounded to the precision of `x`; also return the mean that is left."""
    rounded = mean.to(x.dtype)
    return x - rounded, mean - rounded


class _ChannelsLast(torch.autograd.Function):
    """Instance norm of a channels-last map, and its gradient, as linear combinations of maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        batch, channels, height, width = x.shape
        if x.dtype == torch.bfloat16:  # its matrix products round every sum; group norm's kernel does not
            size = (batch, channels, 1, 1)
            output, *moments = torch.native_group_norm(x, None, None, batch, channels, height * width, channels, eps)
            mean, rstd = (moment.double().view(size) for moment in moments)
        else:
            mean = _sums(x) / (height * width)
            centered, rest = _center(x, mean)  # the square of a large mean would cancel the variance
            rstd = (_sums(centered * centered) / (height * width) - rest**2).clamp(min=0).add(eps).rsqrt()
            output = torch.addcmul((-rest * rstd).to(x.dtype), centered, rstd.to(x.dtype))
        ctx.save_for_backward(x, mean, rstd)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (x, mean, rstd) = gradients, ctx.saved_tensors
        gradient, pixels = gradient.contiguous(memory_format=torch.channels_last), x.shape[2] * x.shape[3]
        centered, rest = _center(x, mean)
        mean_g, mean_gx = _sums(gradient) / pixels, _sums(gradient * centered) / pixels
        # With z = (x - mean) rstd, the gradient is rstd (g - mean(g) - z mean(g z)), which is linear in g and x.
        slope = -(rstd**3) * (mean_gx - rest * mean_g)
        offset = -rstd * mean_g - slope * rest
        total = torch.addcmul(offset.to(x.dtype), centered, slope.to(x.dtype))
        return total.addcmul_(gradient, rstd.to(x.dtype)), None
