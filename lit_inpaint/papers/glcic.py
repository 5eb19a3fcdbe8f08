"""GLCIC: Globally and Locally Consistent Image Completion.

Satoshi Iizuka, Edgar Simo-Serra, Hiroshi Ishikawa (Waseda University), ACM Transactions on Graphics 36 (4), SIGGRAPH 2017. The
authors published Torch weights without training code. Public PyTorch code: otenim/GLCIC-PyTorch @3f9de13 ("the code" below),
an independent port, which `load_official` reads.

    image, holes in the mean color; mask -> [conv /2, /2] -> [dilated convs 2, 4, 8, 16] -> [deconv x2, x2] -> sigmoid -> image
    image ------------------------> [5 or 6 convs /2] -> FC 1024 --+
    crop of it around the hole ---> [5 convs /2] ------> FC 1024 --+-> FC -> logit

Deviations and choices:
- `variant` chooses what differs between the two:
    the discriminator's fake input   the composite | the raw output
    the crop of a completed image    centered on the hole | anywhere around the hole
    third stage                      the discriminator's gradients are cleared before its update | after it, so that they
                                     contain the generator's "call it real": half again as large, and opposed to its own
  The last one is a bug of the code, kept since a run of the code has it.
- In the code, ReLU comes before batch norm, in the paper after it; `norm_first=True` is the paper's order. The default has the
  code's in both variants, for which weights exist.
- The paper completes 256x256 images with 128x128 crops, which needs six convolutions in the global branch. The code's default
  is 160 with 96 and five: `size=160, local_size=96, global_layers=5`. Fully connected layers fix both sizes in training; the
  generator takes any.
- Loss weights are the code's: the squared error alone, then both terms of the discriminator halved, then everything halved and
  the adversarial losses of both players times alpha = 4e-4. With Adadelta, whose epsilon is 1e-6, alpha slows the
  discriminator down; with Adam it would not.
- The squared error of the hole is averaged over all pixels, so that a small hole counts little.
- Crops are drawn for each image. The code draws one place for the whole batch, in which all holes lie. If a hole, or several
  ones, do not fit into the crop, the crop lies within their bounding box.
- The code uses the mean color of all training images; `mean_color` is ImageNet's unless given. `load_official` does not
  include it, since the code keeps it in another file (`mpv` in config.json).
- The discriminator's output is a logit; the code's is its sigmoid. The losses are the same but for the code's limit of 100.
- `blending="poisson"` is the paper's post-processing: the completed hole keeps its gradients and takes on the colors at its
  edge. The paper also fills by fast marching first, which the solution of the Poisson equation does not depend on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import at_least_float32, bce_fake, bce_real, non_saturating_generator
from lit_inpaint.nets.hole_crops import crop_windows, windows_around_holes
from lit_inpaint.official_weights import glcic as official_weights
from lit_inpaint.schedules import Value
from lit_inpaint.settings import Adadelta, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite

Variant = Literal["paper", "official"]
Blending = Literal["none", "poisson"]

_STRIDE = 4  # of the feature map


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms; the values are those of the third stage with alpha = 4e-4.

    Attributes:
        l2: squared error of the holes, averaged over all pixels and channels.
        adversarial: cross-entropy of completed images, called real.
        real: cross-entropy of real images.
        fake: cross-entropy of completed images.
    """

    l2: Value = 0.5
    adversarial: Value = 2e-4
    real: Value = 2e-4
    fake: Value = 2e-4


STAGES = (
    Stage("completion", discriminator=False, iterations=90_000, weights={"l2": 1.0, "adversarial": 0.0}),
    Stage("discriminator", generator=False, iterations=10_000, weights={"real": 0.5, "fake": 0.5}),
    Stage("joint", update="alternating", iterations=400_000),
)
"""Section 4: T_C = 90,000, T_D = 10,000, T_train = 500,000."""


# Generator ------------------------------------------------------------------------------------------------------------------


def block(convolution: nn.Module, width: int, norm_first: bool) -> nn.Sequential:
    """A convolution, ReLU and batch norm, or batch norm before ReLU."""
    relu, norm = nn.ReLU(inplace=True), nn.BatchNorm2d(width)
    return nn.Sequential(convolution, norm, relu) if norm_first else nn.Sequential(convolution, relu, norm)


class CompletionNetwork(nn.Sequential):
    """The completion network (table 1): emptied image and mask (B, 4, H, W) to (B, 3, H, W) before the sigmoid.

    Args:
        width: channels of the first layer; the feature map has 4 times as many.
        norm_first: batch norm before ReLU.
    """

    def __init__(self, width: int, norm_first: bool) -> None:
        w = width
        geometry = [  # output channels, kernel, stride, dilation
            (w, 5, 1, 1),
            (2 * w, 3, 2, 1),
            (2 * w, 3, 1, 1),
            (4 * w, 3, 2, 1),
            (4 * w, 3, 1, 1),
            (4 * w, 3, 1, 1),
            *((4 * w, 3, 1, dilation) for dilation in (2, 4, 8, 16)),
            (4 * w, 3, 1, 1),
            (4 * w, 3, 1, 1),
        ]
        c_in, convolutions = 4, list[tuple[nn.Module, int]]()
        for c_out, kernel, stride, dilation in geometry:
            padding = kernel // 2 * dilation
            convolutions.append((nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation), c_out))
            c_in = c_out
        for c_up, c_out in ((2 * w, 2 * w), (w, w // 2)):
            convolutions.append((nn.ConvTranspose2d(c_in, c_up, 4, stride=2, padding=1), c_up))
            convolutions.append((nn.Conv2d(c_up, c_out, 3, padding=1), c_out))
            c_in = c_out
        blocks = [block(convolution, c_out, norm_first) for convolution, c_out in convolutions]
        super().__init__(*blocks, nn.Conv2d(c_in, 3, 3, padding=1))


# Discriminator --------------------------------------------------------------------------------------------------------------


class Branch(nn.Sequential):
    """Convolutions with stride 2, then a fully connected layer (tables 2 and 3).

    Args:
        size: side of the images.
        layers: number of convolutions.
        width: channels of the first one; they double up to 8 times as many.
        features: of the result.
        norm_first: batch norm before ReLU.
    """

    def __init__(self, size: int, layers: int, width: int, features: int, norm_first: bool) -> None:
        widths = (3, *(width * 2 ** min(number, 3) for number in range(layers)))
        blocks = [block(nn.Conv2d(c_in, c_out, 5, stride=2, padding=2), c_out, norm_first) for c_in, c_out in pairwise(widths)]
        side = -(-size // 2**layers)
        super().__init__(*blocks, nn.Flatten(), nn.Linear(widths[-1] * side * side, features), nn.ReLU(inplace=True))


class ContextDiscriminator(nn.Module):
    """Global and local branch, joined by a fully connected layer.

    Args:
        size: side of the images.
        local_size: side of the crops.
        global_layers: convolutions of the global branch.
        local_layers: convolutions of the local branch.
        width: channels of the first convolution.
        features: of each branch.
        norm_first: batch norm before ReLU.
    """

    def __init__(
        self, size: int, local_size: int, global_layers: int, local_layers: int, width: int, features: int, norm_first: bool
    ) -> None:
        super().__init__()
        self.size = size
        self.local_size = local_size
        self.local_branch = Branch(local_size, local_layers, width, features, norm_first)
        self.global_branch = Branch(size, global_layers, width, features, norm_first)
        self.to_logit = nn.Linear(2 * features, 1)

    def forward(self, image: Tensor, crop: Tensor) -> Tensor:
        """Map images (B, 3, size, size) and crops of them (B, 3, local_size, local_size) in [0, 1] to logits (B, 1)."""
        logits: Tensor = self.to_logit(torch.cat([self.local_branch(crop), self.global_branch(image)], dim=1))
        return logits


# The paper ------------------------------------------------------------------------------------------------------------------


class GLCIC(Inpainter):
    """The completion network with a global and a local discriminator.

    Args:
        variant: "paper" or "official" (public code); see the top of this file.
        size: side of the training images; only the discriminator depends on it.
        local_size: side of the crops, in whose center the hole lies; None: half of `size`.
        global_layers: convolutions of the discriminator's global branch: 6 for 256x256 images, 5 for 160x160.
        local_layers: convolutions of the discriminator's local branch; fewer for crops of less than 32 pixels.
        width: channels of the generator's first layer, even.
        discriminator_width: channels of the discriminator's first layers.
        features: channels of the discriminator's fully connected layers.
        norm_first: batch norm before ReLU, as in the paper; the public weights have ReLU first.
        mean_color: RGB in [0, 1] that fills the holes: the mean of the training images, here that of ImageNet.
        blending: post-processing of `complete`: none, or Poisson blending (section 3.5).
        weights: of the loss terms, in the third stage.
        generator_optimizer: Adadelta.
        discriminator_optimizer: Adadelta.
        stages: 90,000 batches of the generator, 10,000 of the discriminator, 400,000 of both; with their loss weights.
        training: options of the engine.

    Raises:
        UserError: crops larger than the images.
    """

    multiple: ClassVar[int] = _STRIDE
    discriminator: ContextDiscriminator
    published_as: ClassVar[dict[str, dict[str, object]]] = {"GLCIC": {"width": 64}}
    published_in: ClassVar[str | None] = "lpi_net"

    def __init__(
        self,
        variant: Variant = "paper",
        size: int = 256,
        local_size: int | None = None,
        global_layers: int = 6,
        local_layers: int = 5,
        width: int = 64,
        discriminator_width: int = 64,
        features: int = 1024,
        norm_first: bool = False,
        mean_color: tuple[float, float, float] = (0.485, 0.456, 0.406),
        blending: Blending = "none",
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adadelta(),
        discriminator_optimizer: OptimizerSettings = Adadelta(),
        stages: tuple[Stage, ...] = STAGES,
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        local_size = size // 2 if local_size is None else local_size
        if local_size > size:
            raise UserError(
                f"GLCIC: crops of {local_size} pixels do not fit into images of {size}; set local_size to {size // 2}"
            )
        self.variant = variant
        self.blending = blending
        self.generator = CompletionNetwork(width, norm_first)
        self.discriminator = ContextDiscriminator(
            size, local_size, global_layers, local_layers, discriminator_width, features, norm_first
        )
        self.register_buffer("mean_color", torch.tensor(mean_color).view(1, 3, 1, 1), persistent=False)
        self.mean_color: Tensor

    def stages(self) -> tuple[Stage, ...]:
        """The stages as given; the code's bug is added where both players are trained alternately."""
        stages = super().stages()
        if self.variant == "paper":
            return stages
        joint = [stage.update == "alternating" and len(stage.players) == 2 for stage in stages]
        return tuple(
            replace(stage, leftover_gradients=stage.leftover_gradients or both)
            for stage, both in zip(stages, joint, strict=True)
        )

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, of any size, to the raw output in (0, 1)."""
        height, width = image.shape[-2:]
        image, mask = pad_to_multiple(image, mask, _STRIDE)
        emptied = image * (1 - mask) + self.mean_color.to(image.dtype) * mask
        output = at_least_float32(self.generator(torch.cat([emptied, mask], dim=1))).sigmoid()
        return Prediction(crop(output, height, width))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute eq. 2 and the adversarial term of eq. 4."""
        return {
            "l2": ((prediction.image - batch["image"]) * batch["mask"]).square().mean(),
            "adversarial": lambda: non_saturating_generator(self._fake_logits(batch, prediction)),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute eq. 3; real images are cropped at random places."""
        fake = self.record_logits("fake", self._fake_logits(batch, prediction))
        real = self.record_logits("real", self._logits(batch["image"], torch.zeros_like(batch["mask"]), anywhere=True))
        return {"real": bce_real(real), "fake": bce_fake(fake)}

    def _fake_logits(self, batch: Batch, prediction: Prediction) -> Tensor:
        official = self.variant == "official"
        image = prediction.image if official else composite(batch["image"], prediction.image, batch["mask"])
        return self._logits(image, batch["mask"], anywhere=official)

    def _logits(self, image: Tensor, mask: Tensor, anywhere: bool) -> Tensor:
        size, side = self.discriminator.size, self.discriminator.local_size
        height, width = image.shape[-2:]
        if (height, width) != (size, size):
            raise UserError(
                f"GLCIC's discriminator takes {size}x{size} images, and these are {height}x{width}; set --data.size {size}, "
                f"or --model.size {width}"
            )
        logits: Tensor = self.discriminator(image, crop_windows(image, windows_around_holes(mask, side, anywhere), side))
        return logits

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> list[str]:
        """Load weights of otenim's CompletionNetwork and ContextDiscriminator; all of them are needed.

        The fill color is not among them: give `mpv` of its config.json as `mean_color`.
        """
        official_weights.load(self.generator, generator, self.discriminator, discriminator, dict(self.hparams))
        return []
