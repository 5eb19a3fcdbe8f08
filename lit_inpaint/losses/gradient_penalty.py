"""Penalties on the slope of a discriminator over its input image: terms of the discriminator's turn.

Both differentiate the **sum** of a sample's logits by its image: over a patch discriminator's patches (as LaMa's code does) and
over the scales of one that gives several. Autograd wants one number, and the sum is the one that neither the number of patches
nor that of scales waters down; the slope of a mean over n patches is n times smaller, its square n^2 times. For that mean, for
one of several scales, or for a discriminator with a condition, pass a lambda:
`lambda image: discriminator(image).mean((1, 2, 3))`, `lambda image: discriminator(torch.cat([image, mask], 1))`.

- Differentiable once more, so their backward reaches the discriminator's weights; nothing flows into `real` or `fake`. In the
  generator's turn, where the engine freezes the discriminator, they are of no use.
- Each costs a forward of its own in the discriminator's current mode: spectral norm takes a further power iteration, batch norm
  a further update of its statistics. Batch norm also ties the samples of a batch together, so that the slope of the summed
  logits is no longer one sample's own (Gulrajani et al. 2017, section 4, advise against it in the critic).
- Under autocast the forward runs in the caller's precision, the differentiation without autocast (each step in the precision of
  its forward), and the norm in float32. float16 flushes slopes below 6e-8 to zero on the way, as no loss scale applies here;
  bfloat16 does not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lit_inpaint.losses.adversarial import Logits, at_least_float32


def gradient_penalty(
    discriminator: Callable[[Tensor], Logits],
    real: Tensor,
    fake: Tensor,
    mask: Tensor | None = None,
    target: float = 1.0,
) -> Tensor:
    """Mean over samples of (||slope||_2 - target)^2 between real and generated images (Gulrajani et al. 2017, eq. 3).

    The slope is taken at e * real + (1 - e) * fake with one e per sample, uniform in [0, 1), from torch's global generator on
    the images' device, which the engine seeds anew for every step. The norm is one sample's, over channels and pixels.
    Their factor lambda (10 in the paper) is not in here: it is the term's weight.

    Args:
        discriminator: image (B, C, H, W) to logits.
        real: (B, C, H, W), in the range that the discriminator is trained on.
        fake: (B, C, H, W), generated, in the same range.
        mask: (B, 1, H, W), multiplies the slope before its norm, so that with 1 = hole known pixels go unpunished (DeepFill
            v1: Yu et al. 2018, arXiv 1801.07892, whose formula has 1 - m for a mask of known pixels, and the code
            JiahuiYu/generative_inpainting). A sample without a hole then costs target^2 and teaches nothing.
        target: the norm that costs nothing.

    Returns:
        Scalar, float32 or better.

    Raises:
        RuntimeError: where gradients are disabled, or the slope does not depend on anything that could be trained.
        ValueError: on shapes that would broadcast.
    """
    if fake.shape != real.shape:
        raise ValueError(f"fake is {tuple(fake.shape)} and real {tuple(real.shape)}; interpolation needs equal shapes")
    if mask is not None and mask.shape != (real.shape[0], 1, *real.shape[2:]):
        raise ValueError(f"mask is {tuple(mask.shape)}, expected (B, 1, H, W) beside images of {tuple(real.shape)}")
    dtype = torch.promote_types(real.dtype, fake.dtype)
    e = torch.rand(real.shape[0], 1, 1, 1, dtype=dtype, device=real.device)
    slope = _slope(discriminator, torch.lerp(fake.detach().to(dtype), real.detach().to(dtype), e))
    if mask is not None:
        slope = slope * mask
    # Unlike the root of a sum of squares, vector_norm has a gradient (0) where the whole slope is 0.
    norm: Tensor = torch.linalg.vector_norm(slope.flatten(1), dim=1)
    return (norm - target).square().mean()


def r1_penalty(discriminator: Callable[[Tensor], Logits], real: Tensor) -> Tensor:
    """Mean over samples of ||slope||_2^2 at real images: R1 of Mescheder et al. 2018, eq. 9, without its factor gamma / 2.

    In: the square, the sum over channels and pixels, the mean over samples. Not in: gamma and the half, both of which belong
    in the term's weight (5 for the paper's gamma = 10; LaMa's code has 0.001 and no half), and any factor for being computed at
    every n-th step only.

    Args:
        discriminator: image (B, C, H, W) to logits.
        real: (B, C, H, W), in the range that the discriminator is trained on.

    Returns:
        Scalar, float32 or better.

    Raises:
        RuntimeError: where gradients are disabled, or the slope does not depend on anything that could be trained.
    """
    return _slope(discriminator, real.detach()).flatten(1).square().sum(1).mean()


def _slope(discriminator: Callable[[Tensor], Logits], image: Tensor) -> Tensor:
    """Gradient of the summed logits by a detached `image`, of its shape, in float32 or better, with its own graph."""
    if not torch.is_grad_enabled():
        raise RuntimeError("a gradient penalty needs gradients, which are disabled here (no_grad or inference_mode)")
    image.requires_grad_()
    logits = discriminator(image)
    scales = [logits] if isinstance(logits, Tensor) else logits
    with torch.autocast(image.device.type, enabled=False):
        (slope,) = torch.autograd.grad([scale.sum() for scale in scales], image, create_graph=True)
    if not slope.requires_grad:
        raise RuntimeError(
            "the discriminator's slope depends on no trainable weight: the discriminator is frozen, "
            "or compiled by a torch.compile that loses second derivatives"
        )
    return at_least_float32(slope)
