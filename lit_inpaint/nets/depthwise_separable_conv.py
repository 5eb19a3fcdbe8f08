"""Depthwise-separable convolution (Howard et al., "MobileNets", 2017, section 3.1), and its spectral norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import register_parametrization


class DepthwiseSeparableConv2d(nn.Module):
    """A depthwise k x k and a pointwise 1 x 1 convolution, both with a bias, without norm or activation between them.

    Weights are initialized uniformly so that both convolutions keep the variance of their input. The bound of the depthwise
    ones follows from their k x k inputs: Xavier's formula counts the channels of a depthwise kernel on one side only, so that
    the signal fades. The bound of the pointwise ones is Xavier's. Biases are initialized to 0.

    Args:
        c_in: channels in.
        c_out: channels out.
        kernel_size: side of the depthwise kernel.
        stride: of the depthwise convolution.
        padding: zeros around the map.
        dilation: of the depthwise convolution.
    """

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(c_in, c_in, kernel_size, stride, padding, dilation, groups=c_in)
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
    """Parametrization of a depthwise weight (C, 1, k, k): divide by the largest L2 norm among its kernels.

    This is exact spectral norm (Miyato et al. 2018). As an ordinary convolution, a depthwise one has a matrix (C, C k k) whose
    rows do not overlap, so its singular values are the norms of the rows. The norm of the (C, k k) matrix would be too large,
    by up to the square root of C, and the layer's output too small.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """(C, 1, k, k) to the same shape, largest norm 1."""
        norms: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
        return weight / norms.max().clamp_min(1e-12)


def add_spectral_norm(convolution: DepthwiseSeparableConv2d) -> DepthwiseSeparableConv2d:
    """Add spectral norm to both weights of `convolution`, in place, and return it."""
    register_parametrization(convolution.depthwise, "weight", LargestKernelNorm())
    spectral_norm(convolution.pointwise)
    return convolution
