"""Style loss: distance of the Gram matrices of VGG feature maps (Gatys et al. 2015; Johnson et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from lit_inpaint.losses.vgg_features import sum_over_layers


def style_loss(
    features: Sequence[Tensor],
    targets: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    distance: Callable[[Tensor, Tensor], Tensor] = l1_loss,
) -> Tensor:
    """Add over layers the distance between the Gram matrices of two sets of feature maps.

    Args:
        features: (B, C, h, w) for each layer, from `VGGFeatures`.
        targets: the same of the target image.
        weights: of the layers; None: all 1.
        distance: of two (B, C, C) matrices, a scalar: `l1_loss` or `mse_loss`.

    Returns:
        Scalar.
    """
    return sum_over_layers(distance, [gram_matrix(x) for x in features], [gram_matrix(x) for x in targets], weights)


def gram_matrix(feature: Tensor) -> Tensor:
    """Compute F Fᵀ / (C h w) of each sample, with F of shape (C, h w): the correlation of channels.

    Args:
        feature: (B, C, h, w).

    Returns:
        (B, C, C), float32 or better.
    """
    channels = feature.flatten(2).to(torch.promote_types(feature.dtype, torch.float32))
    with torch.autocast(feature.device.type, enabled=False):
        return channels @ channels.transpose(1, 2) / channels[0].numel()
