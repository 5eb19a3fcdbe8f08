"""ResidualUNet: the network that comes with the package, a U-Net that corrects a smooth interpolation. No paper of its own.

    image, mask -> [pull-push] -> filled ----------------------------------------------------------+
    filled, mask -> [0] ------------------------------------------> + -> [0] -> 3x3 -> * mask -> + -> output
                     |                                              ^
                    [1] --------------------------------> + -> [1] -+      [n]: 3x3 convolutions and leaky ReLU; down with
                     |                                    ^                stride 2, up with a transposed convolution
                    [2] ----------------------> + -> [2] -+                2x2; skip connections are sums
                     ...

The last convolution starts from zero, so that the network starts as the interpolation, which is already near OpenCV's methods.
Without normalization layers, results depend neither on the batch nor on the size of the image.

    loss = l1 * mean |output - image| + ssim * (1 - SSIM) + perceptual * distance of VGG-16 features
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.perceptual import perceptual_loss
from lit_inpaint.losses.ssim import ssim_loss
from lit_inpaint.losses.vgg_features import VGGFeatures, VGGWeights
from lit_inpaint.nets.pull_push import pull_push
from lit_inpaint.schedules import Linear, Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms. All are of the composite.

    Attributes:
        l1: mean absolute error over all pixels and channels.
        ssim: 1 - SSIM.
        perceptual: distance of VGG-16 features.
    """

    l1: Value = 1.0
    ssim: Value = 0.25
    perceptual: Value = 0.0


def convolution(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution and a leaky ReLU."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, padding=1), nn.LeakyReLU(0.1, inplace=True))


class ResidualUNetGenerator(nn.Module):
    """The U-Net.

    Args:
        widths: channels at full size, half size, and so on.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.first = convolution(4, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(convolution(wide, deep, stride=2), convolution(deep, deep)) for wide, deep in pairwise(widths)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, wide, 2, stride=2) for wide, deep in pairwise(widths))
        self.merge = nn.ModuleList(convolution(wide, wide) for wide in widths[:-1])
        self.to_rgb = nn.Conv2d(widths[0], 3, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, a=0.1)
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.to_rgb.weight)

    def forward(self, filled: Tensor, mask: Tensor) -> Tensor:
        """Map filled image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W) to (B, 3, H, W); sides multiples of 2^levels."""
        x = self.first(torch.cat([filled - 0.5, mask], dim=1))
        skips = [x]
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up, merge, skip in zip(reversed(self.up), reversed(self.merge), reversed(skips), strict=True):
            x = merge(up(x) + skip)
        residual: Tensor = self.to_rgb(x)
        return residual


class ResidualUNet(Inpainter):
    """The residual U-Net; without a discriminator.

    Args:
        widths: channels at full size, half size, and so on.
        vgg: weights of the VGG-16 of the perceptual loss: "imagenet", "random" (from a fixed seed), or a file.
        weights: of the loss terms.
        generator_optimizer: Adam 1e-3 that falls to 0.
        stages: one.
        training: options of the engine.

    Raises:
        UserError: fewer than two widths, or one below 1.
    """

    generator: ResidualUNetGenerator

    def __init__(
        self,
        widths: tuple[int, ...] = (24, 48, 96, 192, 256, 256),
        vgg: VGGWeights = "imagenet",
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=Linear(1e-3), betas=(0.9, 0.999)),
        stages: tuple[Stage, ...] = (Stage("main", discriminator=False),),
        training: Training = Training(clip_generator=1.0),
    ) -> None:
        super().__init__(weights, generator_optimizer, None, training, stages)
        if len(widths) < 2 or min(widths) < 1:
            raise UserError(f"ResidualUNet: widths is {list(widths)}; it takes two or more numbers from 1 on")
        self.unit = 2 ** (len(widths) - 1)
        self.generator = ResidualUNetGenerator(widths)
        self.discriminator = None
        self.vgg = VGGFeatures(16, ("pool1", "pool2", "pool3"), vgg)

    def setup(self, stage: str) -> None:
        """Load the loss network before training, if a loss uses it."""
        super().setup(stage)
        if stage == "fit" and self.uses_loss("perceptual"):
            self.vgg.load()
            rank_zero_info(f"The perceptual loss uses {self.vgg.description}")

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, of any size, to the composite."""
        height, width = image.shape[-2:]
        image, mask = pad_to_multiple(image, mask, self.unit)
        filled = pull_push(image, mask)
        return Prediction(crop(filled + mask * self.generator(filled, mask), height, width))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the three terms."""
        output, image = prediction.image, batch["image"]
        return {
            "l1": l1_loss(output, image),
            "ssim": ssim_loss(output, image),
            "perceptual": lambda: perceptual_loss(self.vgg(output), self.vgg(image)),
        }
