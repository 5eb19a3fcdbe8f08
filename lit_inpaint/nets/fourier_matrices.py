"""Fourier transforms of LaMa's units as products with matrices of cosines and sines, for exported graphs.

Graph formats have no complex numbers, and their transforms, if any, differ between runtimes. The matrices are computed in the
graph from the size of the map, so the size stays free. A map of n x n features takes n times as many multiplications as its
number of features, in each direction; LaMa's maps have an eighth of the image's side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

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
    cos_w, sin_w = (matrix[:, : width // 2 + 1] for matrix in _cos_and_sin(width, x))
    cos_h, sin_h = _cos_and_sin(height, x)
    real, imag = x @ cos_w, -(x @ sin_w)  # along rows
    parts = [cos_h @ real + sin_h @ imag, cos_h @ imag - sin_h @ real]  # along columns
    return torch.stack(parts, dim=2).flatten(1, 2)


def from_matrix_spectrum(spectrum: Tensor, width: int) -> Tensor:
    """Invert `matrix_spectrum`: (B, 2 C, H, width // 2 + 1) to (B, C, H, width)."""
    real, imag = spectrum.unflatten(1, (-1, 2)).unbind(2)
    cos_h, sin_h = _cos_and_sin(spectrum.shape[-2], spectrum)
    real, imag = cos_h @ real - sin_h @ imag, cos_h @ imag + sin_h @ real
    bins = torch.arange(width // 2 + 1, device=spectrum.device)
    once = (bins == 0) | (2 * bins == width)  # all others stand for their negative frequency, too
    weight = torch.where(once, 1.0, 2.0).to(spectrum.dtype)[:, None]
    cos_w, sin_w = (matrix[: width // 2 + 1] * weight for matrix in _cos_and_sin(width, spectrum))
    return real @ cos_w - imag @ sin_w


def _cos_and_sin(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin of 2 pi i j / size, divided by sqrt(size): (size, size) in the precision of `like`.

    The angles are reduced as integers and computed in double precision.
    """
    index = torch.arange(size, device=like.device)
    angle = (index[:, None] * index % size).double() * (2 * math.pi) / size
    norm = torch.full((), size, dtype=torch.float64, device=like.device).rsqrt()
    return (angle.cos() * norm).to(like.dtype), (angle.sin() * norm).to(like.dtype)
