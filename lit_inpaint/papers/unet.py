"""The custom CNN that WaveMix inpainting is compared with: a U-Net (Kumar, Jeevan, Sethi, ICLR 2023 Tiny Papers, appendix A).

"A U-net model with five down-scaling convolution layers followed by five up-scaling transposed-convolution layers", of about
the size of WaveMix: 12 M parameters in table 1. No commit of the authors' repository contains it.

    emptied image, mask -> [1] -> [2] -> [3] -> [4] -> [5] -+     convolutions, each to half the size
                            |      |      |      |         |
                 image <- [10] <- [9] <- [8] <- [7] <- [6] <+     transposed convolutions, each to twice the size

Deviations and choices, as the paper says no more than the sentence above:
- Widths 64, 128, 256, 512, 768; 4x4 convolutions and 2x2 transposed ones, both with stride 2; skip connections by
  concatenation from the first four. These have 12,006,787 parameters, the nearest to 12 M among the shapes tried: the same
  widths with 3x3 kernels have 11.74 M; 96, 192, 384, 512, 512 have 12.19 M; 128, 256, 512, 512, 512 with 3x3 kernels and
  without skips 12.40 M.
- Batch norm and ReLU after each layer but the last, which is linear.
- Input, losses, optimizers, stages and precision are WaveMix's, since the paper states them "for all experiments": 4 channels,
  black holes, no normalization; 0.75 (1 - SSIM) + 0.25 MAE of the composite; AdamW for 50 epochs, SGD for 50.
- Images of any size are padded to a multiple of 2^levels by replication, and the output is cropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.ssim import ssim_loss
from lit_inpaint.schedules import Value
from lit_inpaint.settings import SGD, AdamW, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite, empty_holes


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms, those of WaveMix inpainting (section 2).

    Attributes:
        ssim: 1 - SSIM of the composite.
        mae: mean absolute error of the composite, over all pixels and channels.
    """

    ssim: Value = 0.75
    mae: Value = 0.25


def level(convolution: nn.Module, width: int) -> nn.Sequential:
    """A convolution, batch norm, ReLU."""
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


class UNetGenerator(nn.Module):
    """The U-Net.

    Args:
        widths: channels of the down-scaling convolutions; there are as many up-scaling ones.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            level(nn.Conv2d(c_in, c_out, 4, stride=2, padding=1), c_out) for c_in, c_out in pairwise((4, *widths))
        )
        self.up = nn.ModuleList()  # from the deepest
        c_in = widths[-1]
        for width in reversed(widths[:-1]):
            self.up.append(level(nn.ConvTranspose2d(c_in, width, 2, stride=2), width))
            c_in = 2 * width
        self.to_rgb = nn.ConvTranspose2d(c_in, 3, 2, stride=2)

    def forward(self, emptied: Tensor, mask: Tensor) -> Tensor:
        """Map emptied image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W) to (B, 3, H, W); sides multiples of 2^levels."""
        x, skips = torch.cat([emptied, mask], dim=1), []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()  # the deepest features have no skip connection
        for up in self.up:
            x = torch.cat([up(x), skips.pop()], dim=1)
        image: Tensor = self.to_rgb(x)
        return image


class UNet(Inpainter):
    """The U-Net, trained like WaveMix; without a discriminator.

    Args:
        widths: channels of the down-scaling convolutions; there are as many up-scaling ones.
        weights: of the loss terms.
        generator_optimizer: AdamW 1e-3, betas 0.9 and 0.999, epsilon 1e-8, weight decay 0.01 (appendix A).
        stages: 50 epochs of AdamW, then 50 of SGD, 1e-3 with momentum 0.9 (appendix A).
        training: options of the engine.

    Raises:
        UserError: no widths, or one below 1.
    """

    generator: UNetGenerator
    published_as: ClassVar[dict[str, dict[str, object]]] = {"Custom CNN": {"widths": (64, 128, 256, 512, 768)}}
    published_in: ClassVar[str | None] = "wavemix"

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 128, 256, 512, 768),
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = AdamW(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
        stages: tuple[Stage, ...] = (
            Stage("AdamW", discriminator=False, epochs=50),
            Stage("SGD", discriminator=False, epochs=50, generator_optimizer=SGD(lr=1e-3, momentum=0.9)),
        ),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, None, training, stages)
        if min(widths, default=0) < 1:
            raise UserError(f"UNet: widths is {list(widths)}; it takes one or more numbers from 1 on")
        self.unit = 2 ** len(widths)
        self.generator = UNetGenerator(widths)
        self.discriminator = None

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, of any size, to the raw output."""
        height, width = image.shape[-2:]
        image, mask = pad_to_multiple(image, mask, self.unit)
        return Prediction(crop(self.generator(empty_holes(image, mask), mask), height, width))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the "weighted linear combination" of WaveMix's section 2."""
        complete = composite(batch["image"], prediction.image, batch["mask"])
        return {"ssim": ssim_loss(complete, batch["image"]), "mae": l1_loss(complete, batch["image"])}
