"""3x3 and 4x4 convolutions by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Networks").

A tile of 4x4 outputs of a 3x3 kernel takes 6x6 = 36 multiplications for each pair of channels instead of 144, and so does one
of 3x3 outputs of a 4x4 kernel: input tiles and kernels are evaluated at 6x6 points, multiplied point by point, which is one
matrix product over channels for each point, and transformed back. A wide convolution in oneDNN runs at the peak of the
processor, so only fewer multiplications make it faster. Rounding errors (standard deviation) are 1.5 times those of oneDNN with
the points below, 3 times with the usual 0, 1, -1, 2, -2.

Measured on an AMD EPYC (Zen 4), and not used: 5x5 outputs of 2x2 kernels, to which convolutions and transposed convolutions of
stride 2 can be brought, are no faster: transforms take the time saved. In bfloat16 the outputs' errors would be 1.8
times those of oneDNN with 2x2 outputs of a 3x3 kernel, and 4.2 times with 4x4 outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

_INPUTS = 6  # side of an input tile
_POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))  # and infinity

_MIN_CHANNELS = 96
_MIN_TILES = 128
_MAX_NUMBERS = 2**22  # tiles times channels, for each of which 36 numbers of input and output are in memory: 600 MB each
_MAX_WASTE = 1.7  # computed outputs for each one that is used


class _Transforms(NamedTuple):
    """Matrices that act on flattened tiles."""

    input: Tensor  # (36, 36)
    kernel: Tensor  # (36, 9), or (36, 16) for a 4x4 kernel
    output: Tensor  # (16, 36), or (9, 36)


@cache
def _transforms(taps: int, dtype: torch.dtype) -> _Transforms:
    """Evaluate polynomials at the points (kernel, and output transposed), and invert the evaluation (input transposed)."""
    powers = torch.tensor(_POINTS, dtype=torch.float64)[:, None] ** torch.arange(_INPUTS)

    def evaluation(terms: int) -> Tensor:
        at_infinity = torch.eye(terms, dtype=torch.float64)[-1:]  # the coefficient of the highest power
        return torch.cat([powers[:, :terms], at_infinity])

    one_dimension = (torch.linalg.inv(evaluation(_INPUTS)).T, evaluation(taps), evaluation(_INPUTS + 1 - taps).T)
    return _Transforms(*(torch.kron(matrix, matrix).to(dtype) for matrix in one_dimension))


class _Grid(NamedTuple):
    """Tiles that cover an output; with dilation d, a tile has every d-th pixel of a row and of a column."""

    height: int
    width: int
    rows: int
    columns: int
    dilation: int
    side: int  # of a tile of outputs

    @classmethod
    def of_convolution(cls, x: Tensor, taps: int, padding: int, dilation: int) -> _Grid:
        height, width = (side + 2 * padding - (taps - 1) * dilation for side in x.shape[2:])
        side = _INPUTS + 1 - taps
        rows, columns = (-(-length // (side * dilation)) for length in (height, width))
        return cls(height, width, rows, columns, dilation, side)

    def cut(self, x: Tensor, padding: int, side: int) -> Tensor:
        """Cut tiles, at the distances of the output's tiles: (B, C, H, W) to (tiles, side^2, C)."""
        batch, channels, height, width = x.shape
        d, halo = self.dilation, (side - self.side) * self.dilation
        bottom, right = (n * self.side * d + halo - padding for n in (self.rows, self.columns))
        x = pad(x.permute(0, 2, 3, 1), (0, 0, padding, right - width, padding, bottom - height)).contiguous()
        sample, row, column, _ = x.stride()
        sizes = (batch, self.rows, d, self.columns, d, side, side, channels)
        strides = (sample, self.side * d * row, row, self.side * d * column, column, d * row, d * column, 1)
        return x.as_strided(sizes, strides).reshape(-1, side**2, channels)

    def join(self, tiles: Tensor) -> Tensor:
        """Join tiles of outputs (side^2, tiles, C) to a channels-last map (B, C, H, W)."""
        d, n, channels = self.dilation, self.side, tiles.shape[2]
        y = tiles.view(n, n, -1, self.rows, d, self.columns, d, channels).permute(2, 3, 0, 4, 5, 1, 6, 7)
        height, width = (count * n * d for count in (self.rows, self.columns))
        # No view: the activation that follows may change it in place, which autograd refuses for a view made in a function.
        joined = torch.empty(
            (len(y), channels, height, width), dtype=y.dtype, device=y.device, memory_format=torch.channels_last
        )
        joined.permute(0, 2, 3, 1).view(y.shape).copy_(y)
        if (height, width) == (self.height, self.width):
            return joined
        return joined[..., : self.height, : self.width].clone(memory_format=torch.channels_last)


_disabled = False


@contextmanager
def disabled() -> Iterator[None]:
    """Let layers use PyTorch's convolution in this context, so that counted multiplications are those of the definition."""
    global _disabled
    before, _disabled = _disabled, True
    try:
        yield
    finally:
        _disabled = before


def is_faster(x: Tensor, weight: Tensor, padding: int, dilation: int) -> bool:
    """Return whether `convolve` is faster than oneDNN for these sizes, as measured on an AMD EPYC (Zen 4)."""
    if _disabled or min(weight.shape[:2]) < _MIN_CHANNELS:
        return False
    grid = _Grid.of_convolution(x, weight.shape[2], padding, dilation)
    tiles = grid.rows * grid.columns * dilation**2
    return (
        len(x) * tiles >= _MIN_TILES
        and len(x) * tiles * max(weight.shape[:2]) <= _MAX_NUMBERS
        and tiles * grid.side**2 <= _MAX_WASTE * grid.height * grid.width
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int) -> Tensor:
    """Compute `conv2d(x, weight, bias, padding=padding, dilation=dilation)`.

    Args:
        x: (B, C, H, W).
        weight: (C', C, 3, 3) or (C', C, 4, 4).
        bias: (C') or None.
        padding: at most `(k - 1) * dilation`.
        dilation: distance of the taps.

    Returns:
        (B, C', H', W'), channels-last.
    """
    output: Tensor = _Convolution.apply(x, weight, bias, padding, dilation)
    return output


class _Convolution(torch.autograd.Function):
    """The convolution; both gradients take 36 multiplications for each tile as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (padding, dilation)
        output = _convolve(x, _kernels(weight), weight.shape[2], padding, dilation)
        return output if bias is None else output.add_(bias.view(-1, 1, 1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        padding, dilation = ctx.geometry
        of_input = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            reach = (weight.shape[2] - 1) * dilation
            of_input = _convolve(gradient, _kernels(weight, turned=True), weight.shape[2], reach - padding, dilation)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(gradient, x, weight, padding, dilation)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_input, of_weight, of_bias, None, None


def _kernels(weight: Tensor, turned: bool = False) -> Tensor:
    """Evaluate kernels at the points, without copies of channels-last ones.

    Args:
        weight: (C', C, k, k).
        turned: by 180 degrees, with inputs and outputs exchanged, as the gradient of the input needs them.

    Returns:
        (36, C, C'), or (36, C', C) if turned.
    """
    c_out, c_in, taps, _ = weight.shape
    evaluation = _transforms(taps, weight.dtype).kernel
    flat = weight.permute(0, 2, 3, 1).reshape(c_out, taps**2, c_in)
    if turned:
        return (evaluation.flip(1) @ flat).transpose(0, 1)
    return (evaluation @ flat).permute(1, 2, 0)


def _convolve(x: Tensor, kernels: Tensor, taps: int, padding: int, dilation: int) -> Tensor:
    transforms = _transforms(taps, x.dtype)
    grid = _Grid.of_convolution(x, taps, padding, dilation)
    points = transforms.input @ grid.cut(x, padding, _INPUTS)  # (tiles, 36, C)
    products = points.transpose(0, 1) @ kernels  # (36, tiles, C')
    return grid.join((transforms.output @ products.flatten(1)).view(grid.side**2, -1, kernels.shape[2]))


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, padding: int, dilation: int) -> Tensor:
    taps = weight.shape[2]
    transforms = _transforms(taps, x.dtype)
    grid = _Grid.of_convolution(x, taps, padding, dilation)
    points = transforms.input @ grid.cut(x, padding, _INPUTS)
    products = transforms.output.T @ grid.cut(gradient, 0, grid.side)
    kernels = products.permute(1, 2, 0) @ points.transpose(0, 1)  # (36, C', C)
    of_taps = (transforms.kernel.T @ kernels.flatten(1)).view(taps, taps, *kernels.shape[1:])
    return torch.empty_like(weight).copy_(of_taps.permute(2, 3, 0, 1))
