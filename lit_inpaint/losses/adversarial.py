"""Adversarial losses on discriminator logits, each a scalar to be minimised by the player it is named after.

`x` below is a logit, positive where a patch is judged real, and D = sigmoid(x) the probability of that. `..._real` and
`..._fake` are the discriminator's two terms, `..._generator` is the generator's and sees logits of generated images.

- Inside one scale every logit counts the same: a loss is the mean over batch, channels and patches. Where a paper sums over
  patches, its weight grows by their number.
- A discriminator of several scales gives a sequence of logits. `over_scales` says whether the means of the scales are added
  ("sum": pix2pixHD, DeepGIN) or averaged ("mean"), so that their number leaves the loss's size alone. For logits of one
  scale, bare or in a sequence, both are the same.
- Half precision is left before anything is computed: bfloat16 logits have 8 significant bits, too few for a mean over
  thousands of patches or for 1 - x beside a large x, and the square of a float16 logit above 255 overflows. Gradients return
  in the precision of the logits; float64 stays float64.
- No factor is hidden inside: halves and lambdas belong to a paper's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

Logits = Tensor | Sequence[Tensor]
"""What a discriminator says: logits of any shape, or one such tensor for each of its scales."""

OverScales = Literal["sum", "mean"]


def bce_real(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-log D over logits of real images: the first term of the GAN objective, negated (Goodfellow et al. 2014, eq. 1)."""
    return _mean(lambda x: softplus(-x), logits, over_scales)


def bce_fake(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-log(1 - D) over logits of generated images: the second term of the GAN objective, negated."""
    return _mean(softplus, logits, over_scales)


def minimax_generator(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """log(1 - D) over logits of generated images, which the generator minimises in the two-player game.

    Negative, and flat where the discriminator is sure of itself: the generator then learns from its other terms alone.
    """
    return _mean(lambda x: -softplus(x), logits, over_scales)


def non_saturating_generator(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-log D over logits of generated images: steep where the discriminator is sure (Goodfellow et al. 2014, section 3)."""
    return _mean(lambda x: softplus(-x), logits, over_scales)


def hinge_real(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """max(0, 1 - x) over logits of real images (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."""
    return _mean(lambda x: relu(1 - x), logits, over_scales)


def hinge_fake(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """max(0, 1 + x) over logits of generated images (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."""
    return _mean(lambda x: relu(1 + x), logits, over_scales)


def hinge_generator(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-x over logits of generated images; the generator's side has no hinge (Miyato et al. 2018, eq. 17)."""
    return _mean(torch.neg, logits, over_scales)


def least_squares_real(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """(x - 1)^2 over logits of real images: b = 1 in Mao et al. 2017, eq. 9, without their factor 1/2."""
    return _mean(lambda x: (x - 1).square(), logits, over_scales)


def least_squares_fake(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """x^2 over logits of generated images: a = 0 in Mao et al. 2017, eq. 9, without their factor 1/2."""
    return _mean(torch.square, logits, over_scales)


def least_squares_generator(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """(x - 1)^2 over logits of generated images: c = 1 in Mao et al. 2017, eq. 9, without their factor 1/2."""
    return _mean(lambda x: (x - 1).square(), logits, over_scales)


def wasserstein_real(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-x over a critic's scores of real images (Arjovsky et al. 2017, eq. 3, negated), bounded for a Lipschitz critic only."""
    return _mean(torch.neg, logits, over_scales)


def wasserstein_fake(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """+x over a critic's scores of generated images; added to `wasserstein_real`, minus the estimated distance."""
    return _mean(torch.positive, logits, over_scales)


def wasserstein_generator(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-x over a critic's scores of generated images: the part of the distance that the generator can shorten."""
    return _mean(torch.neg, logits, over_scales)


def at_least_float32(x: Tensor) -> Tensor:
    """`x` of any shape, out of half precision; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _mean(cost: Callable[[Tensor], Tensor], logits: Logits, over_scales: OverScales) -> Tensor:
    """The mean `cost` of a logit, scale by scale, then their sum or mean; a scalar."""
    scales = [logits] if isinstance(logits, Tensor) else list(logits)
    if not scales:
        raise ValueError("logits of no scale: an empty sequence has no loss")
    if over_scales not in ("sum", "mean"):
        raise ValueError(f"over_scales is {over_scales!r}, expected 'sum' or 'mean'")
    means = [cost(at_least_float32(scale)).mean() for scale in scales]
    total: Tensor = sum(means[1:], means[0])
    return total / len(means) if over_scales == "mean" else total
