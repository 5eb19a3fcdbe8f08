"""Layers of DeepFill's networks: an encoder to a quarter of the size, dilated convolutions, a decoder (Yu et al., CVPR 2018).

Version 1 has plain convolutions with ELU, version 2 gated ones. `Layer` builds either.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import nn

Layer = Callable[[int, int, int, int, int], nn.Module]
"""Build a convolution with activation from input channels, output channels, kernel size, stride and dilation."""


def encoder(layer: Layer, c_in: int, widths: tuple[int, int, int, int, int]) -> list[nn.Module]:
    """Five convolutions down to a quarter of the size."""
    geometry = ((5, 1), (3, 2), (3, 1), (3, 2), (3, 1))
    channels = pairwise((c_in, *widths))
    return [layer(a, b, kernel, stride, 1) for (a, b), (kernel, stride) in zip(channels, geometry, strict=True)]


def dilated(layer: Layer, width: int, dilations: tuple[int, ...]) -> list[nn.Module]:
    """A convolution, then dilated ones."""
    return [layer(width, width, 3, 1, dilation) for dilation in (1, *dilations)]


def decoder(layer: Layer, c_in: int, width: int) -> list[nn.Module]:
    """Six convolutions, from `c_in` over 4 `width` to `width` / 2 channels, with two upsamplings by 2 in between."""
    layers: list[nn.Module] = []
    widths = (c_in, 4 * width, 4 * width, 2 * width, 2 * width, width, width // 2)
    for number, (a, b) in enumerate(pairwise(widths)):
        if number in (2, 4):
            layers.append(nn.UpsamplingNearest2d(scale_factor=2))
        layers.append(layer(a, b, 3, 1, 1))
    return layers
