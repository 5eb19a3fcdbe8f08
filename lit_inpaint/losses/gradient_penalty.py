"""Penalties on the gradient of a discriminator with respect to its input image: terms of the discriminator's update.

Both differentiate the **sum** of a sample's logits with respect to its image: over the patches of a patch discriminator (as
LaMa's code does) and over scales. The sum does not depend on the number of patches or scales; the gradient of a mean over n
patches is n times smaller, its square n^2 times. For a mean, for one of several scales, or for a conditional discriminator,
pass a lambda: `lambda image: discriminator(image).mean((1, 2, 3))`, `lambda image: discriminator(torch.cat([image, mask], 1))`.

- The penalties are differentiable, with gradients for the discriminator's weights and none for `real` or `fake`. They have no
  effect in the generator's update, where the engine freezes the discriminator.
- Each needs a forward pass of its own in the discriminator's current mode: spectral norm does one more power iteration, batch
  norm one more update of its statistics. Batch norm also mixes the samples of a batch, so the gradient of the summed logits
  belongs to no single sample (Gulrajani et al. 2017, section 4, advise against it in the critic).
- Under autocast the forward pass runs in the caller's precision, the differentiation without autocast (each step in the
  precision of its forward), and the norm in float32. float16 flushes gradients below 6e-8 to zero, as no loss scale applies
  here; bfloat16 does not.
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
    """Average (||gradient||_2 - target)^2 over samples, between real and generated images (Gulrajani et al. 2017, eq. 3).

    The gradient is taken at e * real + (1 - e) * fake with one e per sample, uniform in [0, 1), from torch's global generator
    on the images' device, which the engine seeds for each step. The norm of a sample is over channels and pixels. The factor
    lambda (10 in the paper) is not included: it is the weight of the term.

    Args:
        discriminator: image (B, C, H, W) to logits.
        real: (B, C, H, W), in the discriminator's input range.
        fake: (B, C, H, W), generated, in the same range.
        mask: (B, 1, H, W), multiplies the gradient before its norm, so that with 1 = hole known pixels have no penalty
            (DeepFill v1: Yu et al. 2018, arXiv 1801.07892, whose formula has 1 - m for a mask of known pixels, and the code
            JiahuiYu/generative_inpainting). A sample without a hole then adds target^2 without a gradient.
        target: norm without a penalty.

    Returns:
        Scalar, float32 or better.

    Raises:
        RuntimeError: gradients are disabled, or the gradient does not depend on a trainable weight.
        ValueError: shapes that would broadcast.
    """
    if fake.shape != real.shape:
        raise ValueError(f"fake is {tuple(fake.shape)} and real {tuple(real.shape)}; interpolation needs equal shapes")
    if mask is not None and mask.shape != (real.shape[0], 1, *real.shape[2:]):
        raise ValueError(f"mask is {tuple(mask.shape)}, expected (B, 1, H, W) beside images of {tuple(real.shape)}")
    dtype = torch.promote_types(real.dtype, fake.dtype)
    e = torch.rand(real.shape[0], 1, 1, 1, dtype=dtype, device=real.device)
    gradient = _image_gradient(discriminator, torch.lerp(fake.detach().to(dtype), real.detach().to(dtype), e))
    if mask is not None:
        gradient = gradient * mask
    # Unlike the root of a sum of squares, vector_norm has a gradient (0) where the whole gradient is 0.
    norm: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (norm - target).square().mean()


def r1_penalty(discriminator: Callable[[Tensor], Logits], real: Tensor) -> Tensor:
    """Average ||gradient||_2^2 over samples at real images: R1 of Mescheder et al. 2018, eq. 9, without its factor gamma / 2.

    Included: the square, the sum over channels and pixels, the mean over samples. Not included: gamma and the half, which
    belong to the weight of the term (5 for the paper's gamma = 10; LaMa's code has 0.001 and no half), and any factor for
    computing it at every n-th step only.

    Args:
        discriminator: image (B, C, H, W) to logits.
        real: (B, C, H, W), in the discriminator's input range.

    Returns:
        Scalar, float32 or better.

    Raises:
        RuntimeError: gradients are disabled, or the gradient does not depend on a trainable weight.
    """
    return _image_gradient(discriminator, real.detach()).flatten(1).square().sum(1).mean()


def r1_of_logits(logits: Logits, real: Tensor) -> Tensor:
    """Compute `r1_penalty` from logits that another term uses too, which saves a forward pass.

    Args:
        logits: of `real`.
        real: (B, C, H, W), a leaf that required a gradient when the discriminator computed `logits`.

    Returns:
        Scalar, float32 or better.

    Raises:
        RuntimeError: gradients were disabled, or the gradient does not depend on a trainable weight.
    """
    return _gradient(logits, real).flatten(1).square().sum(1).mean()


def _image_gradient(discriminator: Callable[[Tensor], Logits], image: Tensor) -> Tensor:
    """Compute the gradient of the summed logits with respect to a detached `image`, in float32 or better, with a graph."""
    if not torch.is_grad_enabled():
        raise RuntimeError("a gradient penalty needs gradients, which are disabled here (no_grad or inference_mode)")
    image.requires_grad_()
    return _gradient(discriminator(image), image)


def _gradient(logits: Logits, image: Tensor) -> Tensor:
    scales = [logits] if isinstance(logits, Tensor) else logits
    with torch.autocast(image.device.type, enabled=False):
        (gradient,) = torch.autograd.grad([scale.sum() for scale in scales], image, create_graph=True)
    if not gradient.requires_grad:
        raise RuntimeError(
            "the discriminator's gradient depends on no trainable weight: the discriminator is frozen, "
            "or compiled by a torch.compile that loses second derivatives"
        )
    return at_least_float32(gradient)
