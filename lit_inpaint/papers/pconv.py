"""PConv: partial convolutions for regular holes.

Dávid Kékesi, Mátyás Sándor, Zoltán Király (team DeepPurple), "Image Inpainting for Regular Holes Using Partial Convolutions":
Liu et al.'s network (ECCV 2018, arXiv 1804.07723) on birds with a 64x64 hole in the center. "The report" below; it follows
the Keras port MathiasGruber/PConv-Keras, "the port". The layer is NVIDIA's, in `lit_inpaint.nets.partial_conv`; NVIDIA has not
published such a U-Net. The best-known one in PyTorch, naoto0804/pytorch-inpainting-with-partial-conv, is called "official"
here; `load_official` loads its weights.

    image, known -> [PConv1 /2] -> [PConv2 /2] -> ... -> [PConv8 /2] --+
          |              |             |                               |        every [] also updates the mask (eq. 2)
          +---> [16] <- [15] <------- [14] <- ... <----- [9] <---------+        nearest x2, concatenate, PConv3x3

Deviations and choices, where the report is silent or its sources differ:
- `variant` chooses the losses. "paper": pixel terms on [0, 1] images (the port's range), total variation over the hole dilated
  by one pixel (Liu et al. and the port). "official" is naoto0804's: pixel terms on images in ImageNet normalization, where
  they are four to five times as large, and total variation over the whole composite, also normalized.
- Total variation counts a pair of neighbors if both lie in the region, as Liu et al. write it. The port multiplies the image
  by the region first, which adds a constant along the region's outline; the gradient is the same.
- The port summed its L1 terms until January 2019 and averages them since; here all are means.
- Eq. 1 scales by sum(1) / sum(M). naoto0804 omits sum(1), the port replaces it by k·k. Without it, the epsilon of batch norm
  dominates the deep layers; so loading rescales naoto0804's weights.
- Table I does not mention biases. They start at 0, and only PConv16, which has no batch norm, has one (as in naoto0804);
  `bias` gives all or none.
- The output is linear (Table I); `head="sigmoid"` is the port's: LeakyReLU 0.2, a 1x1 convolution, sigmoid.
- The network's input has ImageNet normalization (naoto0804; the port's is in [0, 1]). Holes are 0 in both.
- Kernels have He initialization (normal, fan-in), as in Liu et al. and naoto0804. "Initialized with VGG16" cannot refer to
  them, as VGG has no 7x7 and 5x5 kernels; VGG-16 is in the losses.
- Adam with PyTorch's defaults; the report names no optimizer. 65,000 batches (60 to 70 epochs of 1000) at 2e-4, then 50,000 at
  5e-5 with a fresh Adam, since only weights are loaded. Batch norm stays in training mode in both: the report, advised to
  freeze the encoder's in the second stage, had better results without. `freeze_bn_stats` freezes its statistics, as Liu et
  al. recommend; scale and shift stay trainable (as in both codes).
- Sizes need not be multiples of 2^levels: upsampled features are cropped to an odd size.
- 8 levels reduce 256x256 to 1x1, where batch norm cannot train on a batch of one: that is an error. A batch of two, the
  report's size on its smaller GPU, gives poor statistics. 7 levels are naoto0804's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.l1 import masked_l1
from lit_inpaint.losses.perceptual import perceptual_loss
from lit_inpaint.losses.style import style_loss
from lit_inpaint.losses.total_variation import dilate_holes, total_variation
from lit_inpaint.losses.vgg_features import ImageNetNormalization, VGGFeatures, VGGWeights, of_output_and_composite
from lit_inpaint.nets.partial_conv import PartialConv2d
from lit_inpaint.official_weights import pconv as official_weights
from lit_inpaint.official_weights.renaming import reject_discriminator
from lit_inpaint.schedules import Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite, empty_holes

Variant = Literal["paper", "official"]
Bias = Literal["none", "last", "everywhere"]
Head = Literal["linear", "sigmoid"]


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms (Liu et al., eq. 7; the port's and naoto0804's too).

    Attributes:
        valid: absolute error of known pixels, averaged over all pixels.
        hole: absolute error of hole pixels, averaged over all pixels.
        perceptual: distance of VGG-16 features, of the output and of the composite.
        style: distance of their Gram matrices, of the output and of the composite.
        tv: total variation of the composite.
    """

    valid: Value = 1.0
    hole: Value = 6.0
    perceptual: Value = 0.05
    style: Value = 120.0
    tv: Value = 0.1


class Level(nn.Module):
    """A partial convolution, batch norm and an activation; input and output features are 0 where unknown."""

    def __init__(self, partial: PartialConv2d, width: int | None, activation: nn.Module) -> None:
        super().__init__()
        self.partial = partial
        self.norm = nn.Identity() if width is None else nn.BatchNorm2d(width)
        self.activation = activation

    def forward(self, emptied: Tensor, num_known: Tensor, deeper: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map the arguments of `PartialConv2d.convolve` to features, 0 where unknown, and the mask of known ones."""
        x, known = self.partial.convolve(emptied, num_known, deeper)
        x = self.activation(self.norm(x))
        return x * known.to(x.dtype), known


class PConvUNet(nn.Module):
    """The network of Table I.

    Args:
        levels: number of downsampling layers, 8 in Table I.
        width: channels of PConv1; they double at each level up to 8 `width`.
        bias: which convolutions have one.
        head: what follows PConv16.
    """

    def __init__(self, levels: int = 8, width: int = 64, bias: Bias = "last", head: Head = "linear") -> None:
        super().__init__()
        if levels < 1:
            raise UserError(f"PConv: levels is {levels}; it takes 1 or more")
        widths = (3, *(width * 2 ** min(level, 3) for level in range(levels)))
        kernels = ((7, 5, 5) + (3,) * levels)[:levels]
        bias_everywhere = bias == "everywhere"
        self.encoder = nn.ModuleList(
            Level(
                PartialConv2d(c_in, c_out, k, stride=2, padding=k // 2, bias=bias_everywhere),
                c_out if number > 0 else None,
                nn.ReLU(inplace=True),
            )
            for number, ((c_in, c_out), k) in enumerate(zip(pairwise(widths), kernels, strict=True))
        )
        self.decoder = nn.ModuleList(  # from the deepest
            Level(PartialConv2d(deeper + skip, skip, 3, padding=1, bias=bias_everywhere), skip, nn.LeakyReLU(0.2, inplace=True))
            for deeper, skip in pairwise(reversed(widths[1:]))
        )
        self.decoder.append(Level(PartialConv2d(widths[1] + 3, 3, 3, padding=1, bias=bias != "none"), None, nn.Identity()))
        self.head = nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(3, 3, 1), nn.Sigmoid()) if head == "sigmoid" else nn.Identity()
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor, known: Tensor) -> Tensor:
        """Map emptied image (B, 3, H, W) and known pixels (B, 1, H, W), 1 = known, to (B, 3, H, W); H and W are free."""
        kernel = cast(Level, self.encoder[0]).partial.conv.weight
        if kernel.is_contiguous(memory_format=torch.channels_last):  # otherwise PConv16 would convert its input to NCHW
            image = image.contiguous(memory_format=torch.channels_last)
        x, skips = image, []
        for level in self.encoder:
            skips.append((x, known))
            x, known = level(x, known * x.shape[1])
        for level in self.decoder:
            skip, known_skip = skips.pop()
            height, width = skip.shape[-2:]
            known_up = interpolate(known, size=(height, width))  # nearest neighbor: i // 2 for odd sides, too
            num_known = known_up * x.shape[1] + known_skip * skip.shape[1]
            x, known = level(skip, num_known, x)  # upsample, concatenate, convolve
        output: Tensor = self.head(x)
        return output


class PConv(Inpainter):
    """The partial-convolution U-Net with pixel, perceptual, style and total-variation losses; without a discriminator.

    Args:
        levels: downsampling layers of the U-Net: 8 (Table I), or 7 (naoto0804); fewer for small images.
        width: channels of PConv1, 64 in Table I.
        bias: which partial convolutions have a bias.
        head: what follows PConv16: nothing (Table I), or the port's LeakyReLU, 1x1 convolution and sigmoid.
        variant: "paper" or "official" losses; see the top of this file.
        vgg: weights of the VGG-16 in two losses: "imagenet", "random" (from a fixed seed), or a file. VGG is not
            created if both losses have weight 0 in all stages.
        freeze_bn_stats: after the first stage, the encoder's batch norm uses its running statistics.
        weights: of the loss terms.
        generator_optimizer: Adam 2e-4 (section V).
        stages: 65,000 batches at 2e-4, then 50,000 at 5e-5 (section V: 60 to 70 and about 50 epochs of 1000).
        training: options of the engine.
    """

    published_as: ClassVar[dict[str, dict[str, object]]] = {"PConv": {"levels": 8, "width": 64}}
    generator: PConvUNet

    def __init__(
        self,
        levels: int = 8,
        width: int = 64,
        bias: Bias = "last",
        head: Head = "linear",
        variant: Variant = "paper",
        vgg: VGGWeights = "imagenet",
        freeze_bn_stats: bool = False,
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=2e-4),
        stages: tuple[Stage, ...] = (
            Stage("initial", discriminator=False, iterations=65_000),
            Stage(
                "fine-tuning",
                discriminator=False,
                iterations=50_000,
                generator_optimizer=Adam(lr=5e-5),
                fresh_optimizers=True,
            ),
        ),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, None, training, stages)
        self.levels = levels
        self.variant = variant
        self.freeze_bn_stats = freeze_bn_stats
        self.generator = PConvUNet(levels, width, bias, head)
        self.discriminator = None
        self.normalization = ImageNetNormalization()
        self.vgg = VGGFeatures(16, ("pool1", "pool2", "pool3"), vgg)

    def stages(self) -> tuple[Stage, ...]:
        """The stages as given; `freeze_bn_stats` keeps the encoder's batch norm in evaluation mode after the first."""
        first, *later = super().stages()
        if not self.freeze_bn_stats:
            return (first, *later)
        norms = "generator.encoder.*.norm"
        return (first, *(replace(stage, eval_modules=(*stage.eval_modules, norms)) for stage in later))

    def load_loss_networks(self) -> list[str]:
        """Load VGG, if a loss uses it."""
        if not self.uses_loss("perceptual", "style"):
            return []
        self.vgg.load()
        return [f"Perceptual and style losses use {self.vgg.description}"]

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the raw output."""
        try:
            output = self.generator(empty_holes(self.normalization(image), mask), 1 - mask)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"PConv's batch norm cannot learn from one image that {self.levels} levels shrink to one pixel: use two or "
                "more images in a batch (--data.batch_size) and in each part of it (--model.training.accumulate_generator), "
                "or fewer --model.levels"
            ) from error
        return Prediction(output if isinstance(self.generator.head, nn.Sequential) else self.normalization.inverse(output))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute Liu et al., eq. 3 to 6 and the two pixel losses before them."""
        image, mask = batch["image"], batch["mask"]
        output, complete = prediction.image, composite(image, prediction.image, mask)
        if self.variant == "paper":
            difference, tv = output - image, total_variation(complete, dilate_holes(mask))
        else:
            difference = (output - image) / self.normalization.std
            tv = total_variation(self.normalization(complete))

        both = of_output_and_composite(self.vgg, output, complete, image)
        return {
            "valid": masked_l1(difference, 1 - mask),
            "hole": masked_l1(difference, mask),
            "perceptual": lambda: both(perceptual_loss),
            "style": lambda: both(style_loss),
            "tv": tv,
        }

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> list[str]:
        """Load weights of naoto0804's PConvUNet; afterwards both variants of `forward` compute what it does."""
        reject_discriminator("PConv", discriminator)
        dropped = official_weights.load(self.generator, generator, self.levels)
        rank_zero_info(f"Loaded naoto0804's weights; dropped its {len(dropped)} kernels of ones (*.mask_conv.weight)")
        return dropped
