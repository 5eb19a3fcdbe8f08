"""LPI-Net: Lightweight Inpainting Network with Pyramidal Hierarchy.

Siyuan Li, Lu Lu, Kepeng Xu, Wenxin Yu, Ning Jiang, Zhuo Yang (Southwest University of Science and Technology; Guangdong
University of Technology), ICONIP 2020. No public code is known.

    image with holes, mask -> [stage 1] -> [stage 2] -> [stage 3] -> [stage 4] -> [stage 5]      bottom-up, section 3.2
                                  |            |            |            |            |
          image <- (to RGB) <- [step 4] <-- [step 3] <-- [step 2] <-- [step 1] <------+          top-down, section 3.3

Deviations and choices, where the paper is silent:
- Widths, expansion and kernels. The ResBlock and its numbers are MobileNetV2's: expansion 6, widths 16, 24, 32, 64, 320
  (MobileNetV2's at strides 2, 4, 8, 16 and 32). They give 1,330,776 parameters for each N, within the 1.325 to 1.332 million
  that follow from the two published counts, and 1.683 x 2^20 (published 1.67) at N = 1, 5.490 x 2^20 (published 5.47) at
  N = 4. Stage convolution and channel reduction 3x3, smooth convolution 1x1.
- Activations: tanh after each stage's standard convolution, after expansion and after depthwise convolution, whose outputs are
  between -1 and 1 as in section 3.2; none after the bottleneck ("linear") and none in the top-down pathway, for which the text
  names none. So the sum of a ResBlock's input and its bottleneck, the output of a stage, is not bounded. No normalization.
- The channel reduction comes before up-sampling: it reduces the channels "before the subsequent operations" (section 3.3).
- The top-down steps end at 16 channels; one 3x3 convolution maps these to RGB, without an activation.
- The input of the generator is the image with emptied holes and the mask (4 channels). Images inside it are in [-1, 1], the
  range of its tanh, so an emptied hole is mid-gray; `forward` converts both ways.
- The discriminator, "similar to" EdgeConnect's, is EdgeConnect's 70x70 patch discriminator; its expectation over patches is
  a mean.
- Eq. 2 adds the adversarial term with weight 1, and eq. 1 is minimax: the generator minimizes log(1 - D), not -log D.
- The input of both losses is the raw output, since I_pred and z = G(x) are raw; only the evaluation composites (section 4.1).
- The paper's masks mark known pixels with 1 after inversion; here 1 is a hole everywhere.
- Not stated, so chosen in `experiments/`: batch size and training length; the square crop of CelebA's images (as wide as the
  image; at a random height in training, in the center for evaluation), the horizontal flip, and the mask ratio of training
  masks (10 to 50 %).
- Masks: those of "work [8]", which mark holes with 1. Of NVIDIA's two sets, 55,116 training and 12,000 test masks, this holds
  for the test masks only; `experiments/data/nvidia_masks_256.yaml` takes these to train and to test.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import bce_fake, bce_real, minimax_generator
from lit_inpaint.losses.l1 import masked_l1
from lit_inpaint.nets.patch_discriminator import PatchDiscriminator
from lit_inpaint.nets.tanh import Tanh
from lit_inpaint.schedules import Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, empty_holes


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms (eq. 1 and 2; all 1 in the paper).

    Attributes:
        l1: mean absolute error over all pixels and channels (eq. 3).
        adversarial: log(1 - D(output)), the generator's part of eq. 1.
        real: -log D(target), the discriminator's first part.
        fake: -log(1 - D(output)), its second part.
    """

    l1: Value = 1.0
    adversarial: Value = 1.0
    real: Value = 1.0
    fake: Value = 1.0


class LightweightResBlock(nn.Module):
    """1x1 expansion, tanh, 3x3 depthwise, tanh, linear 1x1 bottleneck, plus the input (figure 2)."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        hidden = width * expansion
        self.layers = nn.Sequential(
            nn.Conv2d(width, hidden, 1),
            Tanh(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            Tanh(),
            nn.Conv2d(hidden, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        residual: Tensor = self.layers(x)
        return x + residual


class TopDownStep(nn.Module):
    """Channel reduction, bilinear up-sampling, lateral addition, smooth convolution (section 3.3, figure 3)."""

    def __init__(self, width_below: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width_below, width, 3, padding=1)
        self.smooth = nn.Conv2d(width, width, 1)

    def forward(self, below: Tensor, lateral: Tensor) -> Tensor:
        """Map features of the step below (B, C', h, w) and of the bottom-up pathway (B, C, H, W) to (B, C, H, W)."""
        up = interpolate(self.reduce(below), size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        smooth: Tensor = self.smooth(up + lateral)
        return smooth


class LPIGenerator(nn.Module):
    """The pyramid of figure 1.

    Args:
        blocks: N, lightweight ResBlocks in each stage.
        widths: channels of the five stages.
        expansion: hidden channels of a ResBlock divided by its width.
    """

    def __init__(self, blocks: int, widths: tuple[int, ...] = (16, 24, 32, 64, 320), expansion: int = 6) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                # Full resolution in the first stage: the paper's change to FPN for inpainting.
                nn.Conv2d(c_in, c_out, 3, stride=1 if number == 0 else 2, padding=1),
                Tanh(),
                *(LightweightResBlock(c_out, expansion) for _ in range(blocks)),
            )
            for number, (c_in, c_out) in enumerate(pairwise((4, *widths)))
        )
        self.steps = nn.ModuleList(TopDownStep(below, width) for below, width in pairwise(reversed(widths)))
        self.to_rgb = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map emptied image in [-1, 1] and mask, (B, 4, H, W), to (B, 3, H, W), unbounded; H and W are free."""
        laterals = []
        for stage in self.stages:
            x = stage(x)
            laterals.append(x)
        laterals.pop()  # the top of the pyramid starts the top-down pathway and has no lateral connection
        for step in self.steps:
            x = step(x, laterals.pop())
        image: Tensor = self.to_rgb(x)
        return image


class LPINet(Inpainter):
    """LPI-Net (blocks = 1) and LPI-Large (blocks = 4).

    Args:
        blocks: N of section 3.2, lightweight ResBlocks in each of the five stages.
        weights: of the loss terms.
        hole_weight: factor of hole pixels in `l1`, before the mean over all pixels; 1 in the paper. With 1, a short training
            copies known pixels and leaves holes at mean colors, see `experiments/benchmark/lpi_net_hole_weighted.yaml`.
        generator_optimizer: Adam 1e-4, betas 0.0 and 0.9 (section 4.1).
        discriminator_optimizer: Adam 1e-3, the same betas (section 4.1).
        stages: update order; in the paper one stage, in which both players learn at each step from the weights before it
            (section 4.1).
        training: options of the engine.

    Raises:
        UserError: `hole_weight` is negative or NaN.
    """

    discriminator: PatchDiscriminator
    published_as: ClassVar[dict[str, dict[str, object]]] = {"LPI": {"blocks": 1}, "LPI-Large": {"blocks": 4}}
    multiple: ClassVar[int] = 16

    def __init__(
        self,
        blocks: int = 1,
        weights: Weights = Weights(),
        hole_weight: float = 1.0,
        generator_optimizer: OptimizerSettings = Adam(lr=1e-4, betas=(0.0, 0.9)),
        discriminator_optimizer: OptimizerSettings = Adam(lr=1e-3, betas=(0.0, 0.9)),
        stages: tuple[Stage, ...] = (Stage("adversarial", update="simultaneous"),),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        if not hole_weight >= 0:
            raise UserError(f"LPINet: hole_weight={hole_weight}; give 0 or more, 1 as in the paper")
        self.hole_weight = hole_weight
        self.generator = LPIGenerator(blocks)
        self.discriminator = PatchDiscriminator()

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the raw output."""
        output = self.generator(torch.cat([empty_holes(2 * image - 1, mask), mask], dim=1))
        return Prediction((output + 1) / 2)

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute eq. 2 and 3."""
        l1 = l1_loss(prediction.image, batch["image"])
        if self.hole_weight != 1:
            l1 = l1 + (self.hole_weight - 1) * masked_l1(prediction.image - batch["image"], batch["mask"])
        return {
            "l1": l1,
            "adversarial": minimax_generator(self.discriminator(prediction.image)),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute eq. 1, negated to be minimized."""
        return {
            "real": bce_real(self.record_logits("real", self.discriminator(batch["image"]))),
            "fake": bce_fake(self.record_logits("fake", self.discriminator(prediction.image))),
        }
