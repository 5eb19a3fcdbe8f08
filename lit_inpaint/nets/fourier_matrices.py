"""Fourier transforms of LaMa's units as products with matrices of cosines and sines, for exported graphs.

Graph formats have no complex numbers, and their transforms, if any, differ between runtimes. The matrices are computed in the
graph from the size of the map, so the size stays free. A map of n x n features takes n times as many multiplications as its
number of features, in each direction; LaMa's maps have an eighth of the image's side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

from lit_inpaint.nets.fourier_convolution import FourierUnit


class MatrixFourierUnit(FourierUnit):
    """`FourierUnit` with matrix products in place of fast Fourier transforms."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        spectrum = relu(self.norm(self.conv(matrix_spectrum(x))))
        return from_matrix_spectrum(spectrum, x.shape[-1])


def use_matrix_products(module: nn.Module) -> None:
    """Change the class of all `FourierUnit` layers to `MatrixFourierUnit`, in place; weights and names stay."""
    for layer in module.modules():
        if type(layer) is FourierUnit:
            layer.__class__ = MatrixFourierUnit


def matrix_spectrum(x: Tensor) -> Tensor:
    """Compute `fourier_convolution.to_spectrum` of (B, C, H, W): (B, 2 C, H, W // 2 + 1)."""
    height, width = x.shape[-2:]
    cos_w, sin_w = _cos_and_sin(width, width // 2 + 1, width, x)
    cos_h, sin_h = _cos_and_sin(height, height, height, x)
    real, imag = linear(x, cos_w).mT, -linear(x, sin_w).mT  # along rows; then along columns
    real, imag = linear(real, cos_h) + linear(imag, sin_h), linear(imag, cos_h) - linear(real, sin_h)
    return torch.stack([real.mT, imag.mT], dim=2).flatten(1, 2)


def from_matrix_spectrum(spectrum: Tensor, width: int) -> Tensor:
    """Invert `matrix_spectrum`: (B, 2 C, H, width // 2 + 1) to (B, C, H, width)."""
    height = spectrum.shape[-2]
    real, imag = spectrum.unflatten(1, (spectrum.shape[1] // 2, 2)).mT.unbind(2)  # type: ignore[no-untyped-call]
    cos_h, sin_h = _cos_and_sin(height, height, height, spectrum)
    real, imag = linear(real, cos_h) - linear(imag, sin_h), linear(imag, cos_h) + linear(real, sin_h)
    cos_w, sin_w = _cos_and_sin(width, width, width // 2 + 1, spectrum)
    bins = torch.arange(width // 2 + 1, device=spectrum.device)
    once = (bins == 0) | (2 * bins == width)  # all others stand for their negative frequency, too
    weight = torch.where(once, 1.0, 2.0).to(spectrum.dtype)
    return linear(real.mT, cos_w * weight) - linear(imag.mT, sin_w * weight)


def _cos_and_sin(size: int, rows: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin of 2 pi i j / size, divided by sqrt(size).

    The angles are reduced as integers and computed in double precision.

    Args:
        size: of the transform.
        rows: number of i.
        columns: number of j.
        like: a tensor of the precision of the result.

    Returns:
        Two matrices (rows, columns).
    """
    i, j = (torch.arange(count, device=like.device) for count in (rows, columns))
    turn = torch.full((), size, dtype=torch.int64, device=like.device)  # as a tensor: ONNX has no remainder by a free number
    angle = (i[:, None] * j).remainder(turn).double() * (2 * math.pi) / size
    norm = torch.full((), size, dtype=torch.float64, device=like.device).rsqrt()
    cos = (angle + math.pi / 2).sin()  # onnxruntime 1.23 to 1.25 has no cosine in double precision
    return (cos * norm).to(like.dtype), (angle.sin() * norm).to(like.dtype)
