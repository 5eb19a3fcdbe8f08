"""Contextual attention: fill holes of a feature map with weighted means of patches of its known features.

`truncated_distance_attention` is PEPSI's (Sagong et al., CVPR 2019, section 3.2; Forty-lock/PEPSI-Fast_image_inpainting_with_
parallel_decoding_network @be4e487), for a whole batch at once and without extracting patches. The dot product of two patches is
a sum of nine dot products of pixels, one for each position in the patch. So adding up diagonals of the matrix of all pixels
with all pixels compares all patches. The transposed operation blends patches. Both need a ninth of the multiplications of
extracted patches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

PATCH = 3
_MIN_VARIANCE = 1e-12
_MIN_DISTANCE = 1e-6


def truncated_distance_attention(features: Tensor, known: Tensor, scale: float = 50.0, squared: bool = False) -> Tensor:
    """Keep known features, and compute the others from 3x3 patches of the known ones.

    Patches that overlap a hole are used, with zeros in the hole. The computation is in float32 or better, also under autocast:
    a distance is a small difference of large numbers.

    Args:
        features: (B, C, H, W), H and W at least 3.
        known: (B, 1, H, W), 1 = known, 0 = hole.
        scale: lambda, the factor inside the softmax.
        squared: whether distances are squared (public code) or not (paper).

    Returns:
        (B, C, H, W), float32 or better.
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
    """Compute the similarity of patches: -tanh of their distance, standardized.

    Mean and (population) standard deviation are those of the distances of one foreground patch to all background patches.

    Args:
        foreground: (B, C, H, W); one patch around each pixel, with zeros outside the map.
        background: (B, C, H, W); patches inside the map only.
        squared: see `truncated_distance_attention`.

    Returns:
        (B, H W, (H - 2) (W - 2)) in (-1, 1), larger = more similar.
    """
    pixels = foreground.flatten(2).transpose(1, 2) @ background.flatten(2)
    pixels = pixels.reshape(-1, *foreground.shape[2:], *background.shape[2:])
    products = _diagonal_sum(pad(pixels, (0, 0, 0, 0, 1, 1, 1, 1))).flatten(3).flatten(1, 2)
    distance = _energy(foreground, 1).transpose(1, 2) + _energy(background, 0) - 2 * products
    if not squared:
        distance = distance.clamp_min(_MIN_DISTANCE).sqrt()  # rounding leaves a small number, also below 0, for equal patches
    variance, mean = torch.var_mean(distance, dim=-1, correction=0, keepdim=True)
    return -torch.tanh((distance - mean) * variance.clamp_min(_MIN_VARIANCE).rsqrt())


def _energy(x: Tensor, padding: int) -> Tensor:
    """Sum the squares of each 3x3 patch of (B, C, H, W) to (B, 1, patches)."""
    return avg_pool2d(x.square().sum(1, keepdim=True), PATCH, 1, padding, divisor_override=1).flatten(2)


def _diagonal_sum(x: Tensor) -> Tensor:
    """Sum over the nine positions in a patch: y[.., i, j, k, l] = sum of x[.., i + a, j + b, k + a, l + b], a, b = 0, 1, 2."""
    for first, second in ((1, 3), (2, 4)):
        sizes = (x.shape[first] - PATCH + 1, x.shape[second] - PATCH + 1)
        parts = [x.narrow(first, offset, sizes[0]).narrow(second, offset, sizes[1]) for offset in range(PATCH)]
        x = parts[0] + parts[1] + parts[2]
    return x
