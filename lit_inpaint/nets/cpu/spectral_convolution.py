"""Convolutions with spectral norm whose weights are larger than their outputs, as deep layers of patch discriminators.

A convolution is linear in its weight, so dividing the output by the spectral norm equals dividing the weight. PyTorch's
parametrization divides the weight in each forward pass, differentiates the quotient in five passes over it, and copies
channels-last weights to a matrix. For a layer of 256 to 512 channels and 4x4 kernels on 16 maps of 8x8 pixels that takes as
long as one of its convolutions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import is_parametrized

from lit_inpaint.nets.cpu.convolution import CPUConv2d


class CPUSpectralConv2d(CPUConv2d):
    """`CPUConv2d` with `torch.nn.utils.parametrizations.spectral_norm` and nothing else on its weight."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        if not is_parametrized(self):  # any more: an export fixes the weight
            return super().forward(input)
        parametrized: Any = self.parametrizations
        weight: Tensor = parametrized.weight.original
        if not self._has_small_output(input, weight):
            return super().forward(input)
        output = self._conv_forward(input, weight, None) / _spectral_norm(parametrized.weight[0], weight)
        return output if self.bias is None else output + self.bias.view(-1, 1, 1)

    def _has_small_output(self, input: Tensor, weight: Tensor) -> bool:
        if (
            input.device.type != "cpu"
            or input.ndim != 4
            or input.dtype != weight.dtype
            or torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()
        ):
            return False
        padding: Any = self.padding
        sides = [
            (side + 2 * margin - step * (taps - 1) - 1) // stride + 1
            for side, margin, step, taps, stride in zip(
                input.shape[2:], padding, self.dilation, self.kernel_size, self.stride, strict=True
            )
        ]
        return bool(len(input) * weight.shape[0] * sides[0] * sides[1] < weight.numel())


def _spectral_norm(parametrization: Any, weight: Tensor) -> Tensor:
    """Compute the divisor of the parametrization, after its power iteration in training; (C', C, k, k) to a scalar.

    The columns of the matrix have the order of the weight in memory, so that it is a view.
    """
    left, right = parametrization._u, parametrization._v.view(weight.shape[1:])
    axes = (0, 1, 2) if weight.is_contiguous() else (1, 2, 0)
    matrix = weight.permute(0, *(axis + 1 for axis in axes)).flatten(1)
    v = right.permute(axes).flatten().clone()  # a step of training changes both vectors before this pass is differentiated
    if parametrization.training:
        with torch.no_grad():
            for _ in range(parametrization.n_power_iterations):
                left.copy_(normalize(torch.mv(matrix, v), dim=0, eps=parametrization.eps))
                v = normalize(torch.mv(matrix.t(), left), dim=0, eps=parametrization.eps)
            right.permute(axes).copy_(v.view([weight.shape[1:][axis] for axis in axes]))
    return torch.vdot(left.clone(), torch.mv(matrix, v))
