"""Conditional patch discriminators at two scales with spectral norm: DeepGIN's (arXiv 2008.07173; rlct1/gin @cfcef5d).

The arrangement of scales is pix2pixHD's (Wang et al. 2018, arXiv 1711.11585).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.utils.parametrizations import spectral_norm


class MultiscaleDiscriminator(nn.Module):
    """Two equal networks, one for the image and one for half its size, both conditioned on a masked image.

    Args:
        width: channels after the first convolution of each.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.full_size = _score_maps(width)
        self.half_size = _score_maps(width)

    def forward(self, masked: Tensor, image: Tensor) -> list[Tensor]:
        """Map masked image and image, both (B, 3, H, W), to scores of two scales (B, 4 width, h, w); positive = real."""
        pair = torch.cat([masked, image], dim=1)
        halved = avg_pool2d(pair, 3, stride=2, padding=1, count_include_pad=False)
        return [self.full_size(pair), self.half_size(halved)]


def _score_maps(width: int) -> nn.Sequential:
    """Create four 4x4 convolutions with LeakyReLU 0.2 between them: 6 channels to `4 width` maps of scores."""
    layers: list[nn.Module] = []
    for (a, b), stride in zip(pairwise((6, width, 2 * width, 4 * width, 4 * width)), (2, 2, 1, 1), strict=True):
        layers += [spectral_norm(nn.Conv2d(a, b, 4, stride, padding=2)), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers[:-1])
