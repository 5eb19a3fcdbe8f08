"""Context Encoders: Feature Learning by Inpainting.

Deepak Pathak, Philipp Krähenbühl, Jeff Donahue, Trevor Darrell, Alexei A. Efros (UC Berkeley), CVPR 2016. The authors' center
inpainting model is in Torch; BoyuanJiang/context_encoder_pytorch @01cbf96 ("the code" below) is its port to PyTorch.

    128x128 image, center emptied -> 5 convs /2 -> 4x4 conv -> 4000x1x1 -> 5 deconvs x2 -> 64x64: the center of the image
                                                        64x64 center -> 4 convs /2 -> 4x4 conv -> logit

**It fills the center only.** A mask with a hole outside the central half of each side is an error in one line. Evaluation takes
any mask inside it, such as `Center(size=64)` at 128 pixels; images of other sizes are resized to `size` and back.

Deviations and choices:
- The network predicts 64x64 pixels, of which a frame of `overlap` pixels is known input: the hole is 56x56. So training
  masks are `Center(size=56)`. In a larger hole the frame is emptied too. Known pixels inside the 56x56 are not used.
- `overlap` is the code's 4; the paper has 7, as far as remembered. The frame counts ten times in the squared error in both.
- Loss weights 0.999 and 0.001 and a learning rate of the generator ten times the discriminator's are the paper's, as far as
  remembered. The code has 0.998 and 0.002 by default, multiplies the squared error by its weight twice (0.996004), and has one
  learning rate: `experiments/context_encoder_places2_official.yaml`.
- The emptied center has the color (117, 104, 123): ImageNet's means, which in RGB are (123, 117, 104). The code swaps them, and
  its weights were trained so; `fill_color` changes it.
- The squared error is that of images in [-1, 1], as in the code.
- Absent, as in the code: the model for random regions, and AlexNet with the channel-wise fully connected layer.
- Other `size`s have as many levels as reduce them to 4x4, so that small networks can be trained.
- The discriminator's output is a logit; the code's is its sigmoid. Its input is the center alone, real and fake ones in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from lit_inpaint.engine.any_size import resize_bicubic
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import at_least_float32, bce_fake, bce_real, non_saturating_generator
from lit_inpaint.official_weights import context_encoder as official_weights
from lit_inpaint.schedules import Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms

_FRAME_WEIGHT = 10.0
_CHECK_EVERY = 50  # batches in training


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms (eq. 3).

    Attributes:
        reconstruction: squared error of the center in [-1, 1], in which the known frame counts ten times.
        adversarial: cross-entropy of predicted centers, called real.
        real: cross-entropy of true centers.
        fake: cross-entropy of predicted centers.
    """

    reconstruction: Value = 0.999
    adversarial: Value = 0.001
    real: Value = 1.0
    fake: Value = 1.0


def convolution(c_in: int, c_out: int, up: bool = False, whole: bool = False) -> nn.Module:
    """A 4x4 convolution without bias that halves the size, or (`up`) doubles it; `whole` maps 4x4 to 1x1, or back."""
    kind = nn.ConvTranspose2d if up else nn.Conv2d
    return kind(c_in, c_out, 4, stride=1 if whole else 2, padding=0 if whole else 1, bias=False)


def initialize(network: nn.Module) -> None:
    """Draw the initial weights of the code: convolutions N(0, 0.02), scales of batch norm N(1, 0.02)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)


class ContextEncoderGenerator(nn.Sequential):
    """Encoder, bottleneck, decoder: image (B, 3, size, size) in [-1, 1] to its center (B, 3, size / 2, size / 2) before tanh.

    Args:
        size: side of the images.
        width: channels of the first layer.
        bottleneck: channels of the 1x1 feature map.
    """

    def __init__(self, size: int, width: int, bottleneck: int) -> None:
        levels = size.bit_length() - 3  # convolutions from size to 4
        widths = [width * 2 ** min(max(0, number - 1), 3) for number in range(levels)]
        layers: list[nn.Module] = [convolution(3, widths[0]), nn.LeakyReLU(0.2, inplace=True)]
        for number, (c_in, c_out) in enumerate(pairwise((*widths, bottleneck)), start=1):
            layers += [convolution(c_in, c_out, whole=number == levels), nn.BatchNorm2d(c_out)]
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        for number, (c_in, c_out) in enumerate(pairwise((bottleneck, *reversed(widths[1:])))):
            layers += [convolution(c_in, c_out, up=True, whole=number == 0), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
        super().__init__(*layers, convolution(widths[1], 3, up=True))
        initialize(self)


class CenterDiscriminator(nn.Sequential):
    """Centers (B, 3, size / 2, size / 2) in [-1, 1] to logits (B, 1).

    Args:
        size: side of the whole images.
        width: channels of the first layer.
    """

    def __init__(self, size: int, width: int) -> None:
        widths = [width * 2 ** min(number, 3) for number in range(size.bit_length() - 4)]
        layers: list[nn.Module] = [convolution(3, widths[0]), nn.LeakyReLU(0.2, inplace=True)]
        for c_in, c_out in pairwise(widths):
            layers += [convolution(c_in, c_out), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*layers, convolution(widths[-1], 1, whole=True), nn.Flatten())
        initialize(self)


class ContextEncoder(Inpainter):
    """The center inpainting model; see the top of this file for the masks that it takes.

    Args:
        size: side of the images: a power of 2 from 16 on. The network fills the central half of each side.
        overlap: width of the known frame that is predicted too.
        width: channels of the generator's first layer.
        bottleneck: channels of the generator's 1x1 feature map.
        discriminator_width: channels of the discriminator's first layer.
        fill_color: RGB in [0, 1] of the emptied center.
        weights: of the loss terms.
        generator_optimizer: Adam 2e-3, betas 0.5 and 0.999.
        discriminator_optimizer: Adam 2e-4, the same betas.
        stages: one stage in which the discriminator steps first.
        training: options of the engine.

    Raises:
        UserError: another size, or a frame as wide as the center.
    """

    generator: ContextEncoderGenerator
    discriminator: CenterDiscriminator

    def __init__(
        self,
        size: int = 128,
        overlap: int = 4,
        width: int = 64,
        bottleneck: int = 4000,
        discriminator_width: int = 64,
        fill_color: tuple[float, float, float] = (117 / 255, 104 / 255, 123 / 255),
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=2e-3, betas=(0.5, 0.999)),
        discriminator_optimizer: OptimizerSettings = Adam(lr=2e-4, betas=(0.5, 0.999)),
        stages: tuple[Stage, ...] = (Stage("adversarial", update="alternating"),),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        if size < 16 or size & (size - 1):
            raise UserError(f"ContextEncoder: size is {size}; it takes powers of 2 from 16 on, 128 in the paper")
        if not 0 <= overlap < size // 4:
            raise UserError(f"ContextEncoder: overlap is {overlap}; it takes 0 to {size // 4 - 1} pixels at size {size}")
        self.size = size
        self.generator = ContextEncoderGenerator(size, width, bottleneck)
        self.discriminator = CenterDiscriminator(size, discriminator_width)
        center, inner = torch.zeros(1, 1, size, size), torch.zeros(1, 1, size, size)
        center[..., size // 4 : -(size // 4), size // 4 : -(size // 4)] = 1
        edge = size // 4 + overlap
        inner[..., edge:-edge, edge:-edge] = 1
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("inner", inner, persistent=False)
        self.register_buffer("fill_color", torch.tensor(fill_color).view(1, 3, 1, 1), persistent=False)
        self._forwards = 0
        self.center: Tensor
        self.inner: Tensor
        self.fill_color: Tensor

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the image with another center.

        In training the images have the network's size; otherwise they are resized to it, and the output back.

        Raises:
            UserError: another size in training, or a hole outside the center; in training, every 50th batch is checked.
        """
        height, width = image.shape[-2:]
        size = (self.size, self.size)
        if (height, width) != size and not self.training:
            _check_masks(mask)  # a thin hole outside the center would be lost in the resized mask
            emptied = torch.where(mask > 0.5, self.fill_color.to(image.dtype), image)
            hole = interpolate(mask, size, mode="bilinear", antialias=True).gt(0.5).to(mask)
            return Prediction(resize_bicubic(self(resize_bicubic(emptied, size), hole).image, (height, width)))
        if (height, width) != size:
            raise UserError(
                f"ContextEncoder takes {self.size}x{self.size} images in training, and these are {height}x{width}; set "
                f"--data.size {self.size}"
            )
        checks = not self.training or self._forwards % _CHECK_EVERY == 0  # a GPU waits for each check
        self._forwards += self.training
        if checks and not mask.is_meta:  # `check_shapes` has no values
            _check_masks(mask)
        emptied = torch.where(torch.maximum(mask, self.inner) > 0.5, self.fill_color.to(image.dtype), image)
        try:
            features = self.generator(_to_signed(emptied))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                "ContextEncoder's batch norm cannot learn from one image: use two or more images in a batch "
                "(--data.batch_size) and in each part of it (--model.training.accumulate_generator)"
            ) from error
        filled = (at_least_float32(features).tanh() + 1) / 2
        quarter = self.size // 4
        return Prediction(torch.where(self.center > 0.5, pad(filled, (quarter,) * 4), emptied))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute eq. 1 with the weighted frame, and the generator's part of eq. 2."""
        weight = self._center(_FRAME_WEIGHT - (_FRAME_WEIGHT - 1) * self.inner)
        error = self._center(_to_signed(prediction.image) - _to_signed(batch["image"]))
        return {
            "reconstruction": (weight * error.square()).mean(),
            "adversarial": lambda: non_saturating_generator(self._logits(prediction.image)),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the discriminator's part of eq. 2."""
        return {
            "real": bce_real(self.record_logits("real", self._logits(batch["image"]))),
            "fake": bce_fake(self.record_logits("fake", self._logits(prediction.image))),
        }

    def _logits(self, image: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(_to_signed(self._center(image)))
        return logits

    def _center(self, image: Tensor) -> Tensor:
        quarter = self.size // 4
        return image[..., quarter:-quarter, quarter:-quarter]

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> list[str]:
        """Load weights of BoyuanJiang's _netG and _netlocalD; all of them are needed."""
        official_weights.load(self.generator, generator, self.discriminator, discriminator)
        return []


def _check_masks(mask: Tensor) -> None:
    """Raise a `UserError` if a mask (B, 1, H, W) has a hole outside the central half of each side."""
    if torch.compiler.is_exporting():
        return  # a graph cannot raise
    height, width = mask.shape[-2:]
    top, left = height // 4, width // 4
    num_inside = mask[..., top : height - top, left : width - left].count_nonzero()
    if bool(mask.count_nonzero() != num_inside):
        center = f"[{{class_path: lit_inpaint.masks.Center, init_args: {{size: {min(height, width) // 2}}}}}]"
        raise UserError(
            f"ContextEncoder fills only the central {width // 2}x{height // 2} of {width}x{height} pixels, and a mask has "
            f"holes outside; use masks inside it, such as --data.val_masks '{center}'"
        )


def _to_signed(image: Tensor) -> Tensor:
    """Rescale from [0, 1] to [-1, 1]."""
    return 2 * image - 1
