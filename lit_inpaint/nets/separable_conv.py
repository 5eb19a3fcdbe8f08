"""Depthwise-separable convolution (Howard et al., "MobileNets", 2017, section 3.1), and its spectral norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import register_parametrization

from lit_inpaint.nets.cpu.depthwise_convolution import DepthwiseConv2d


class SeparableConv2d(nn.Module):
    """A depthwise k x k and a pointwise 1 x 1 convolution, both with a bias; neither a norm nor an activation between them.

    Weights start uniform, so that both keep the variance of what they see: the depthwise ones as its k x k inputs ask (the
    usual Xavier formula counts the channels of a depthwise kernel on one side only and lets the signal fade), the pointwise
    ones by Xavier's formula. Biases start at 0.

    Args:
        c_in: channels in.
        c_out: channels out.
        kernel_size: side of the depthwise kernel.
        stride: of the depthwise convolution.
        padding: zeros around the map.
        dilation: of the depthwise convolution; above 1 only without a stride.
    """

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(c_in, kernel_size, stride, padding, dilation)
        self.pointwise = nn.Conv2d(c_in, c_out, 1)
        bound = math.sqrt(3) / kernel_size
        nn.init.uniform_(self.depthwise.weight, -bound, bound)
        nn.init.xavier_uniform_(self.pointwise.weight)
        for convolution in (self.depthwise, self.pointwise):
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) to (B, c_out, H', W')."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


class LargestKernelNorm(nn.Module):
    """Parametrization of a depthwise weight (C, 1, k, k): divided by the largest L2 norm among its kernels.

    This is spectral norm (Miyato et al. 2018), exactly: written as an ordinary convolution, a depthwise one has a matrix
    (C, C k k) whose rows do not overlap, so its singular values are their norms. Taking the (C, k k) tensor itself for that
    matrix would overrate the norm, by up to the root of C, and starve the layer.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """(C, 1, k, k) to the same shape, largest norm 1."""
        norms: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
        return weight / norms.max().clamp_min(1e-12)


def spectrally_normed(convolution: SeparableConv2d) -> SeparableConv2d:
    """The same convolution with spectral norm on both of its weights."""
    register_parametrization(convolution.depthwise, "weight", LargestKernelNorm())
    spectral_norm(convolution.pointwise)
    return convolution
