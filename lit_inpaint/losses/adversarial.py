"""Adversarial losses on discriminator logits of any shape; each returns the mean as a scalar.

`D` below is sigmoid(logits), the probability that a patch is real. Written with softplus, which neither overflows nor loses the
small probabilities that log(sigmoid(x)) would round to log(0).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def bce_real(logits: Tensor) -> Tensor:
    """-log D over logits of real images: the first term of the GAN objective, negated (Goodfellow et al. 2014, eq. 1)."""
    return softplus(-logits).mean()


def bce_fake(logits: Tensor) -> Tensor:
    """-log(1 - D) over logits of generated images: the second term of the GAN objective, negated."""
    return softplus(logits).mean()


def minimax_generator(logits: Tensor) -> Tensor:
    """log(1 - D) over logits of generated images, which the generator minimises in the two-player game.

    Negative, and flat where the discriminator is sure of itself: the generator then learns from its other terms alone.
    """
    return -softplus(logits).mean()
