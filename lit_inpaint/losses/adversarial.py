"""Adversarial losses of discriminator logits, scalars to be minimized by the player in their name.

`x` below is a logit, positive where a patch is classified as real, and D = sigmoid(x) the probability of that. `..._real` and
`..._fake` are the discriminator's two terms, `..._generator` is the generator's term, on logits of generated images.

- Within one scale all logits have equal weight: a loss is the mean over batch, channels and patches. If a paper sums over
  patches, multiply its weight by their number.
- A discriminator of several scales returns a sequence of logits. `over_scales` adds the means of the scales ("sum":
  pix2pixHD, DeepGIN) or averages them ("mean"), which makes the loss independent of their number. For logits of one scale,
  as a tensor or in a sequence, both are equal.
- Logits in half precision are converted to float32 first: bfloat16 has 8 significant bits, too few for a mean over thousands
  of patches or for 1 - x with a large x, and the square of a float16 logit above 255 overflows. Gradients have the precision
  of the logits; float64 stays float64.
- No loss contains a factor: halves and lambdas belong to a paper's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

Logits = Tensor | Sequence[Tensor]
"""Output of a discriminator: logits of any shape, or one such tensor for each of its scales."""

OverScales = Literal["sum", "mean"]


def bce_real(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-log D over logits of real images: the first term of the GAN objective, negated (Goodfellow et al. 2014, eq. 1)."""
    return _mean(lambda x: softplus(-x), logits, over_scales)


def bce_fake(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-log(1 - D) over logits of generated images: the second term of the GAN objective, negated."""
    return _mean(softplus, logits, over_scales)


def minimax_generator(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """log(1 - D) over logits of generated images, which the generator minimizes in the two-player game.

    Negative, and with a vanishing gradient where the discriminator is confident: then only the other terms train the generator.
    """
    return _mean(lambda x: -softplus(x), logits, over_scales)


def non_saturating_generator(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-log D over logits of generated images: steep where D is confident (Goodfellow et al. 2014, section 3)."""
    return _mean(lambda x: softplus(-x), logits, over_scales)


def hinge_real(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """max(0, 1 - x) over logits of real images (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."""
    return _mean(lambda x: relu(1 - x), logits, over_scales)


def hinge_fake(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """max(0, 1 + x) over logits of generated images (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."""
    return _mean(lambda x: relu(1 + x), logits, over_scales)


def hinge_generator(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-x over logits of generated images; the generator's term has no hinge (Miyato et al. 2018, eq. 17)."""
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
    """-x over a critic's scores of real images (Arjovsky et al. 2017, eq. 3, negated); bounded only for a Lipschitz critic."""
    return _mean(torch.neg, logits, over_scales)


def wasserstein_fake(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """+x over a critic's scores of generated images; the sum with `wasserstein_real` is minus the estimated distance."""
    return _mean(torch.positive, logits, over_scales)


def wasserstein_generator(logits: Logits, over_scales: OverScales = "sum") -> Tensor:
    """-x over a critic's scores of generated images: the part of the distance that depends on the generator."""
    return _mean(torch.neg, logits, over_scales)


def at_least_float32(x: Tensor) -> Tensor:
    """Convert `x` of any shape from half precision to float32; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _mean(cost: Callable[[Tensor], Tensor], logits: Logits, over_scales: OverScales) -> Tensor:
    """Average `cost` over the logits of each scale, then add or average over scales."""
    scales = [logits] if isinstance(logits, Tensor) else list(logits)
    if not scales:
        raise ValueError("logits of no scale: an empty sequence has no loss")
    if over_scales not in ("sum", "mean"):
        raise ValueError(f"over_scales is {over_scales!r}, expected 'sum' or 'mean'")
    means = [cost(at_least_float32(scale)).mean() for scale in scales]
    total: Tensor = sum(means[1:], means[0])
    return total / len(means) if over_scales == "mean" else total
