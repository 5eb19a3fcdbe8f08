"""EdgeConnect's 70x70 patch discriminator with spectral norm (arXiv 1901.00212; knazeri/edge-connect @3142579)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Five 4x4 convolutions (three of stride 2), LeakyReLU 0.2 between them, spectral norm on all, no bias, no other norm.

    The receptive field of a logit is 70x70 pixels; (B, C, 256, 256) gives (B, 1, 30, 30). Sides must be 24 or more.

    Args:
        in_channels: channels of the image.
        widths: channels after each convolution but the last.
    """

    def __init__(self, in_channels: int = 3, widths: tuple[int, int, int, int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (c_in, c_out), stride in zip(pairwise((in_channels, *widths)), (2, 2, 2, 1), strict=True):
            layers += [_convolution(c_in, c_out, stride), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, _convolution(widths[-1], 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, H, W) to logits (B, 1, h, w); positive = real."""
        logits: Tensor = self.layers(image)
        return logits

    def features(self, image: Tensor) -> list[Tensor]:
        """Map an image (B, C, H, W) to the outputs of its five layers: four after LeakyReLU, and the logits."""
        outputs = []
        for layer in self.layers:
            image = layer(image)
            outputs.append(image)
        return [*outputs[1::2], outputs[-1]]


def _convolution(c_in: int, c_out: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(c_in, c_out, 4, stride, padding=1, bias=False)
    nn.init.normal_(convolution.weight, 0.0, 0.02)  # before spectral norm, whose power iteration starts from these
    return spectral_norm(convolution)
