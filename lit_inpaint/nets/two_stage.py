"""DeepFill's two networks: encoders to a quarter of the size, dilated convolutions, decoders (Yu et al., CVPR 2018).

Version 1 has plain convolutions with ELU, version 2 gated ones. `Layer` builds either.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import ClassVar, Protocol

from torch import Tensor, nn


class Layer(Protocol):
    """Builds a convolution with activation: ELU, or with `rectify` ReLU; with `upsample` of the doubled map."""

    def __call__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int,
        dilation: int,
        /,
        *,
        rectify: bool = False,
        upsample: bool = False,
    ) -> nn.Module:
        """Build a layer from `c_in` to `c_out` channels."""


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
    widths = (c_in, 4 * width, 4 * width, 2 * width, 2 * width, width, width // 2)
    layers: list[nn.Module] = []
    for number, (a, b) in enumerate(pairwise(widths)):
        upsample = number in (2, 4)
        # In front of an upsampling layer: checkpoints number the layers as when upsampling was one of its own.
        layers += [nn.Identity()] * upsample + [layer(a, b, 3, 1, 1, upsample=upsample)]
    return layers


class TwoStageNetworks(nn.Module):
    """The layers of a coarse and a refinement network; the latter has a dilated and an attention branch.

    Args:
        layer: builds the convolutions.
        to_rgb: builds the last layer of each network from its input channels.
        width: channels of the first layer, even.
        in_channels: of the coarse and of the refinement network.
        dilations: of the dilated convolutions of both networks.
    """

    parts: ClassVar[dict[str, tuple[str, ...]]] = {
        "coarse": ("coarse",),
        "refinement": ("dilated_branch", "attention_branch", "after_attention", "decoder"),
    }
    """The two networks as `cost` counts them, by the names of their children."""

    def __init__(
        self,
        layer: Layer,
        to_rgb: Callable[[int], nn.Module],
        width: int,
        in_channels: tuple[int, int],
        dilations: tuple[int, ...],
    ) -> None:
        super().__init__()
        c, (c_coarse, c_refinement) = width, in_channels
        last = partial(layer, rectify=True)
        self.coarse = nn.Sequential(
            *encoder(layer, c_coarse, (c, 2 * c, 2 * c, 4 * c, 4 * c)),
            *dilated(layer, 4 * c, dilations),
            *decoder(layer, 4 * c, c),
            to_rgb(c // 2),
        )
        self.dilated_branch = nn.Sequential(
            *encoder(layer, c_refinement, (c, c, 2 * c, 2 * c, 4 * c)), *dilated(layer, 4 * c, dilations)
        )
        self.attention_branch = nn.Sequential(
            *encoder(layer, c_refinement, (c, c, 2 * c, 4 * c, 4 * c)), last(4 * c, 4 * c, 3, 1, 1)
        )
        self.after_attention = nn.Sequential(*(layer(4 * c, 4 * c, 3, 1, 1) for _ in range(2)))
        self.decoder = nn.Sequential(*decoder(layer, 8 * c, c), to_rgb(c // 2))

    def attention_masks(self, mask: Tensor, shared: bool) -> Tensor:
        """Return the masks of the attention: each sample's (B, 1, H, W), or if `shared`, in training the first (1, 1, H, W).

        Outside training a result never depends on the other samples of the batch.
        """
        return mask[:1] if shared and self.training else mask
