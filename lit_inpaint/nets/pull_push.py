"""Pull-push interpolation (Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.4): smooth colors for holes of any size."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

_LEVELS = 10  # halvings; a fixed number, so that an exported graph takes images of all sizes


def pull_push(image: Tensor, mask: Tensor) -> Tensor:
    """Fill holes with means of known pixels around them, taken over squares just large enough to contain known pixels.

    Pull: the image is halved again and again; each pixel is the weighted mean of its four, and its weight the sum of theirs, at
    most 1. Push: from the coarsest image back, what the weight leaves open is taken from the coarser image. All is
    differentiable, and costs less than one convolution.

    Args:
        image: (B, C, H, W); what its holes hold is ignored.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, C, H, W), equal to `image` on known pixels; 0 everywhere in images without known pixels.
    """
    weight = 1 - mask
    image = image * weight
    levels = [(image, weight)]
    for _ in range(_LEVELS):
        image, share = avg_pool2d(image, 2, ceil_mode=True), avg_pool2d(weight, 2, ceil_mode=True)
        weight = (4 * share).clamp(max=1)
        image = image * (weight / share.clamp(min=1e-6))
        levels.append((image, weight))
    image, _ = levels.pop()
    for known, weight in reversed(levels):
        image = known + (1 - weight) * interpolate(image, known.shape[-2:], mode="bilinear")
    return image
