"""Perceptual loss: distance of VGG feature maps (Johnson et al. 2016; Gatys et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import l1_loss

from lit_inpaint.losses.vgg_features import sum_over_layers


def perceptual_loss(features: Sequence[Tensor], targets: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Add over layers the mean absolute difference of two sets of feature maps.

    Args:
        features: (B, C, h, w) for each layer, from `VGGFeatures`.
        targets: the same of the target image.
        weights: of the layers; None: all 1.

    Returns:
        Scalar.
    """
    return sum_over_layers(l1_loss, features, targets, weights)
