"""Fast Fourier convolution (Chi et al., NeurIPS 2020) in LaMa's form (arXiv 2109.07161; advimman/lama @786f593).

A feature map has local channels, then global ones. Local channels pass through ordinary convolutions, global ones through a
1x1 convolution of the whole image's Fourier spectrum, so that each output depends on the whole image.

The public code has four convolutions and two batch norms in a layer. Here the two convolutions of the local channels are one,
and so are the two norms; parameters, initialization and function are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


class FourierConvolution(nn.Module):
    """A 3x3 fast Fourier convolution, batch norm and ReLU.

    Args:
        local: number of local channels, the first ones.
        spectral: number of global channels, an even number.
    """

    def __init__(self, local: int, spectral: int) -> None:
        super().__init__()
        self.widths = [local, spectral]
        self.from_local = nn.Conv2d(local, local + spectral, 3, padding=1, padding_mode="reflect", bias=False)
        self.global_to_local = nn.Conv2d(spectral, local, 3, padding=1, padding_mode="reflect", bias=False)
        self.global_to_global = SpectralTransform(spectral)
        self.norm = nn.BatchNorm2d(local + spectral)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, local + spectral, H, W) to the same shape; H and W are at least 2."""
        local, spectral = torch.split(x, self.widths, dim=1)
        from_global = torch.cat([self.global_to_local(spectral), self.global_to_global(spectral)], dim=1)
        return relu(self.norm(self.from_local(local) + from_global))


class SpectralTransform(nn.Module):
    """Reduce to half the channels, add the output of a Fourier unit, expand.

    Args:
        width: number of channels, even.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(width, width // 2, 1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU(inplace=True)
        )
        self.fourier_unit = FourierUnit(width // 2)
        self.expand = nn.Conv2d(width // 2, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        x = self.reduce(x)
        expanded: Tensor = self.expand(x + self.fourier_unit(x))
        return expanded


class FourierUnit(nn.Module):
    """A 1x1 convolution, batch norm and ReLU of the real and imaginary parts of the spectrum.

    Args:
        width: number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * width, 2 * width, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        spectrum = to_spectrum(x)
        return from_spectrum(relu(self.norm(self.conv(spectrum))), (x.shape[-2], x.shape[-1]))


def to_spectrum(x: Tensor) -> Tensor:
    """Compute the 2-D Fourier transform of real features, in float32 or better: half precision has no transform.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, 2 C, H, W // 2 + 1) in the precision of `x`, orthonormal, the nonnegative frequencies of the last axis. Channels 2 c
        and 2 c + 1 are the real and the imaginary part of channel c.
    """
    # With channels last, the pairs (real, imaginary) of complex numbers are neighboring channels already: nothing is copied.
    spectrum = torch.fft.rfftn(_at_least_float32(x).permute(0, 2, 3, 1), dim=(1, 2), norm="ortho")
    return torch.view_as_real(spectrum).flatten(3).permute(0, 3, 1, 2).to(x.dtype)


def from_spectrum(spectrum: Tensor, size: tuple[int, int]) -> Tensor:
    """Invert `to_spectrum`.

    Args:
        spectrum: (B, 2 C, H, W // 2 + 1).
        size: H and W; the spectrum is the same for an even W and the odd one after it.

    Returns:
        (B, C, H, W) in the precision of `spectrum`.
    """
    batch, channels, height, bins = spectrum.shape
    pairs = _at_least_float32(spectrum).permute(0, 2, 3, 1).reshape(batch, height, bins, channels // 2, 2)
    x: Tensor = torch.fft.irfftn(torch.view_as_complex(pairs.contiguous()), s=size, dim=(1, 2), norm="ortho")
    return x.permute(0, 3, 1, 2).to(spectrum.dtype)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
