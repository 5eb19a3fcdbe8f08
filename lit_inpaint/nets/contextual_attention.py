"""Contextual attention: holes of a feature map filled with a blend of patches from elsewhere in it.

`truncated_distance_attention` is PEPSI's (Sagong et al., CVPR 2019, section 3.2; Forty-lock/PEPSI-Fast_image_inpainting_with_
parallel_decoding_network @be4e487), for a whole batch at once and without cutting out a single patch: the dot product of two
patches is a sum of nine dot products of pixels, one for each place in the patch, so patches are compared by adding up diagonals
of the matrix of all pixels with all pixels. Blending and pasting patches is the same the other way round. Both need a ninth of
the multiplications of patches laid out in full.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

PATCH = 3
_LEAST_VARIANCE = 1e-12
_LEAST_DISTANCE = 1e-6


def truncated_distance_attention(features: Tensor, known: Tensor, scale: float = 50.0, squared: bool = False) -> Tensor:
    """Keep known features, rebuild the others from 3x3 patches of the known ones.

    Patches that overlap a hole take part, with zeros where the hole is. Calculated in float32 at least, whatever autocast
    says: a distance is a small difference of large numbers.

    Args:
        features: (B, C, H, W), H and W at least 3.
        known: (B, 1, H, W), 1 = known, 0 = hole.
        scale: lambda, sharpness of the softmax.
        squared: whether distances are squared (public code) or not (paper).

    Returns:
        (B, C, H, W), out of half precision.
    """
    batch, channels, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        background = features * known.to(features.dtype)
        scores = truncated_distance_scores(features, background, squared)
        weights = torch.softmax(scale * scores, dim=-1).reshape(batch, height, width, height - 2, width - 2)
        pixels = _diagonal_sum(pad(weights, (2, 2, 2, 2, 1, 1, 1, 1))).flatten(3).flatten(1, 2)
        blend = pixels @ background.flatten(2).transpose(1, 2) / PATCH**2
        rebuilt = blend.transpose(1, 2).reshape(batch, channels, height, width)
        return torch.where(known > 0.5, features, rebuilt)


def truncated_distance_scores(foreground: Tensor, background: Tensor, squared: bool = False) -> Tensor:
    """How alike patches are: -tanh of their distance, after subtraction of the mean and division by the standard deviation.

    Mean and (population) deviation are those of one foreground patch's distances to all background patches.

    Args:
        foreground: (B, C, H, W); its patches surround each pixel, with zeros outside the map.
        background: (B, C, H, W); its patches lie wholly within the map.
        squared: see `truncated_distance_attention`.

    Returns:
        (B, H W, (H - 2) (W - 2)) in (-1, 1), 1 = most alike.
    """
    pixels = foreground.flatten(2).transpose(1, 2) @ background.flatten(2)
    pixels = pixels.reshape(-1, *foreground.shape[2:], *background.shape[2:])
    products = _diagonal_sum(pad(pixels, (0, 0, 0, 0, 1, 1, 1, 1))).flatten(3).flatten(1, 2)
    distance = _energy(foreground, 1).transpose(1, 2) + _energy(background, 0) - 2 * products
    if not squared:
        distance = distance.clamp_min(_LEAST_DISTANCE).sqrt()  # of identical patches rounding leaves any small number
    variance, mean = torch.var_mean(distance, dim=-1, correction=0, keepdim=True)
    return -torch.tanh((distance - mean) * variance.clamp_min(_LEAST_VARIANCE).rsqrt())


def _energy(x: Tensor, padding: int) -> Tensor:
    """Sum of squares of each 3x3 patch of (B, C, H, W), as (B, 1, patches)."""
    return avg_pool2d(x.square().sum(1, keepdim=True), PATCH, 1, padding, divisor_override=1).flatten(2)


def _diagonal_sum(x: Tensor) -> Tensor:
    """Sum over the nine places in a patch: y[.., i, j, k, l] = sum of x[.., i + a, j + b, k + a, l + b] for a, b = 0, 1, 2."""
    for first, second in ((1, 3), (2, 4)):
        sizes = (x.shape[first] - PATCH + 1, x.shape[second] - PATCH + 1)
        parts = [x.narrow(first, place, sizes[0]).narrow(second, place, sizes[1]) for place in range(PATCH)]
        x = parts[0] + parts[1] + parts[2]
    return x
