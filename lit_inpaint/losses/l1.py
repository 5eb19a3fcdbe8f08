"""L1 terms of holes and of known pixels; `torch.nn.functional.l1_loss` serves where a loss covers all pixels."""

from __future__ import annotations

from torch import Tensor


def masked_l1(difference: Tensor, mask: Tensor) -> Tensor:
    """Average absolute differences within a mask over all pixels of the image (Liu et al. 2018, before eq. 3).

    The mean is over all pixels, so a small region has a small loss.

    Args:
        difference: (B, C, H, W), output minus target.
        mask: (B, 1, H, W), weight of each pixel: `mask` for the holes, `1 - mask` for known pixels.

    Returns:
        Scalar.
    """
    return (difference * mask).abs().mean()
