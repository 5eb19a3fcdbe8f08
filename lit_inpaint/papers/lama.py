"""LaMa: resolution-robust large mask inpainting with Fourier convolutions.

Roman Suvorov et al., WACV 2022, arXiv 2109.07161. Public code: advimman/lama @786f593, "official" below.

    emptied image, mask -> [7x7] -> [/2] -> [/2] -> [/2] -> residual blocks -> [x2] -> [x2] -> [x2] -> [7x7] -> sigmoid
                                                     3/4 of their channels are convolved in the spectrum

Deviations and choices:
- Discriminator and all losses use the raw output; the composite is for evaluation only (official).
- The L1 of known pixels, 10, is in the official settings, not in the paper's formula. `hole` is 0 there.
- `vgg_perceptual` is an addition, off by default: the loss of VGG-16 features of other papers, for small networks.
- The adversarial term is "mask-aware": the target of a patch is "fake" where the mask, resized by nearest neighbor, is a hole,
  and "real" elsewhere. So a thin stroke may vanish (official). R1 has no factor 1/2.
- The discriminator is pix2pixHD's of one scale. Its convolutions have padding 2: logits are 19x19 for 256x256.
- Update order: the generator first. The discriminator then uses the image of that same forward pass; `variant="official"`
  makes it anew by the updated generator, so that each batch updates the generator's batch norms twice.
- The official perceptual network is in evaluation mode only until training starts, by an oversight. Here it stays in it.
- Convolutions of the Fourier network pad by reflection; those of `convolution="regular"` (pix2pixHD's generator) with stride
  by zeros.
- Sides that are no multiples of 8 are padded at the right and the bottom by symmetric mirroring (official prediction), to 16 or
  more: below, reflection has too few pixels.
- Fourier transforms are in float32 under autocast too.
- Initialization is PyTorch's; gradients are clipped to norm 1 for each network (official).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, softplus

from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import at_least_float32, bce_real, non_saturating_generator
from lit_inpaint.losses.gradient_penalty import r1_of_logits
from lit_inpaint.losses.l1 import masked_l1
from lit_inpaint.losses.perceptual import perceptual_loss
from lit_inpaint.losses.segmentation_features import SegmentationFeatures, SegmentationWeights, segmentation_loss
from lit_inpaint.losses.vgg_features import VGGFeatures, VGGWeights
from lit_inpaint.nets.fourier_convolution import FourierConvolution
from lit_inpaint.official_weights import lama as official_weights
from lit_inpaint.schedules import Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, empty_holes

Variant = Literal["paper", "official"]
Convolution = Literal["fourier", "regular"]


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms; a term with weight 0 is not computed.

    Attributes:
        valid: absolute error of known pixels, averaged over all pixels.
        hole: absolute error of hole pixels, averaged over all pixels.
        adversarial: non-saturating loss of the generator over all patches.
        feature_matching: squared differences of the discriminator's features.
        segmentation_perceptual: squared differences of a segmentation network's features ("high receptive field").
        vgg_perceptual: absolute differences of VGG-16 features.
        real: non-saturating loss of the discriminator on images.
        fake: its mask-aware loss on outputs.
        r1: squared gradient of the logits of images.
    """

    valid: Value = 10.0
    hole: Value = 0.0
    adversarial: Value = 10.0
    feature_matching: Value = 100.0
    segmentation_perceptual: Value = 30.0
    vgg_perceptual: Value = 0.0
    real: Value = 1.0
    fake: Value = 1.0
    r1: Value = 0.001


# The generator --------------------------------------------------------------------------------------------------------------


class FourierBlock(nn.Module):
    """Two Fourier convolutions and a skip connection; the sum is not activated.

    Args:
        local: number of local channels.
        spectral: number of global channels.
    """

    def __init__(self, local: int, spectral: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(FourierConvolution(local, spectral), FourierConvolution(local, spectral))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, local + spectral, H, W) to the same shape."""
        residual: Tensor = self.layers(x)
        return x + residual


class RegularBlock(nn.Module):
    """pix2pixHD's block: two 3x3 convolutions with batch norm, a ReLU between them, a skip connection.

    Args:
        width: number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        residual: Tensor = self.layers(x)
        return x + residual


class LaMaGenerator(nn.Module):
    """Three downscaling convolutions, residual blocks at an eighth of the size, three upscaling convolutions.

    Args:
        blocks: number of residual blocks.
        width: channels of the first layer; they double with each downscaling.
        global_ratio: fraction of the blocks' channels that are global, rounded to an even number of channels.
        convolution: kind of the blocks.
    """

    def __init__(self, blocks: int, width: int, global_ratio: float, convolution: Convolution) -> None:
        super().__init__()
        fourier = convolution == "fourier"
        widths = [width * 2**level for level in range(4)]
        self.encoder = nn.Sequential(
            _level(nn.Conv2d(4, width, 7, padding=3, padding_mode="reflect", bias=not fourier)),
            *(
                _level(nn.Conv2d(a, b, 3, 2, padding=1, padding_mode="reflect" if fourier else "zeros", bias=not fourier))
                for a, b in pairwise(widths)
            ),
        )
        spectral = int(widths[-1] * global_ratio) // 2 * 2
        self.blocks = nn.Sequential(
            *(FourierBlock(widths[-1] - spectral, spectral) if fourier else RegularBlock(widths[-1]) for _ in range(blocks))
        )
        self.decoder = nn.Sequential(
            *(_level(nn.ConvTranspose2d(a, b, 3, 2, padding=1, output_padding=1)) for a, b in pairwise(reversed(widths)))
        )
        self.to_rgb = nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect")

    def forward(self, emptied: Tensor, mask: Tensor) -> Tensor:
        """Map emptied image (B, 3, H, W) and mask (B, 1, H, W), sides multiples of 8 from 16 on, to (B, 3, H, W) in [0, 1]."""
        x = self.encoder(torch.cat([emptied, mask], dim=1))
        return torch.sigmoid(self.to_rgb(self.decoder(self.blocks(x))))


def _level(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """A convolution, batch norm, ReLU."""
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))


# The discriminator ----------------------------------------------------------------------------------------------------------


class FeaturePatchDiscriminator(nn.Module):
    """pix2pixHD's patch discriminator of one scale: six 4x4 convolutions, four of them with stride 2.

    Args:
        width: channels after the first convolution.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        widths = (3, *(width * 2 ** min(level, 3) for level in range(5)))
        layers: list[nn.Module] = []
        for number, (a, b) in enumerate(pairwise(widths)):
            convolution = nn.Conv2d(a, b, 4, stride=2 if number < 4 else 1, padding=2)
            norm = [nn.BatchNorm2d(b)] if number > 0 else []
            layers.append(nn.Sequential(convolution, *norm, nn.LeakyReLU(0.2, inplace=True)))
        layers.append(nn.Sequential(nn.Conv2d(widths[-1], 1, 4, padding=2)))
        self.layers = nn.ModuleList(layers)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map an image (B, 3, H, W) to logits (B, 1, h, w), positive = real, and the features of the five layers before."""
        features = [image]
        for layer in self.layers:
            features.append(layer(features[-1]))
        return features[-1], features[1:-1]


# The paper ------------------------------------------------------------------------------------------------------------------


class LaMa(Inpainter):
    """LaMa-Fourier (9 blocks), Big LaMa (18 blocks), LaMa-Regular (`convolution="regular"`).

    Args:
        blocks: number of residual blocks, 9 or 18 in the paper.
        width: channels of the first layer; the blocks have 8 times as many.
        global_ratio: fraction of the blocks' channels that are global.
        convolution: "fourier", or "regular" for the paper's ablation without Fourier convolutions.
        discriminator_width: channels after the discriminator's first convolution.
        variant: "paper" or "official" training; see the top of this file.
        segmentation: weights of the segmentation network: ADE20K's, or random ones from a fixed seed. It is not created if its
            loss has weight 0 in all stages.
        segmentation_file: a file with ADE20K's weights, in place of the one in the cache directory.
        vgg: the same of the VGG-16, for `vgg_perceptual`.
        weights: of the loss terms.
        generator_optimizer: Adam 1e-3, betas 0.9 and 0.999 (official).
        discriminator_optimizer: Adam 1e-4, the same betas (official).
        stages: one million batches, the generator first.
        training: options of the engine; gradients are clipped to norm 1.

    Raises:
        UserError: numbers below 1, or a `global_ratio` that leaves no local or no global channels.
    """

    generator: LaMaGenerator
    discriminator: FeaturePatchDiscriminator
    compiled_modules: ClassVar[tuple[str, ...]] = ("generator",)  # R1 differentiates the discriminator twice
    published_as: ClassVar[dict[str, dict[str, object]]] = {"LaMa": {"blocks": 9}}
    published_in: ClassVar[str | None] = "wavemix"

    def __init__(
        self,
        blocks: int = 9,
        width: int = 64,
        global_ratio: float = 0.75,
        convolution: Convolution = "fourier",
        discriminator_width: int = 64,
        variant: Variant = "paper",
        segmentation: SegmentationWeights = "ade20k",
        segmentation_file: str | None = None,
        vgg: VGGWeights = "imagenet",
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=1e-3),
        discriminator_optimizer: OptimizerSettings = Adam(lr=1e-4),
        stages: tuple[Stage, ...] = (Stage("adversarial", update="generator_first", iterations=1_000_000),),
        training: Training = Training(clip_generator=1.0, clip_discriminator=1.0),
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        if min(blocks, width, discriminator_width) < 1:
            raise UserError(
                f"LaMa: blocks is {blocks}, width {width}, discriminator_width {discriminator_width}; 1 or more each"
            )
        if convolution == "fourier" and not 2 <= int(8 * width * global_ratio) // 2 * 2 < 8 * width:
            raise UserError(f"LaMa: global_ratio is {global_ratio}; it leaves local and global channels between 0 and 1")
        self.blocks = blocks
        self.variant = variant
        self.generator = LaMaGenerator(blocks, width, global_ratio, convolution)
        self.discriminator = FeaturePatchDiscriminator(discriminator_width)
        self.segmentation = SegmentationFeatures(segmentation, segmentation_file)
        self.vgg = VGGFeatures(16, ("pool1", "pool2", "pool3"), vgg)

    def load_loss_networks(self) -> list[str]:
        """Load the segmentation network and VGG, each if its loss is used."""
        networks: dict[str, SegmentationFeatures | VGGFeatures] = {
            "segmentation_perceptual": self.segmentation,
            "vgg_perceptual": self.vgg,
        }
        used = {term: network for term, network in networks.items() if self.uses_loss(term)}
        for network in used.values():
            network.load()
        return [f"The loss {term} uses {network.description}" for term, network in used.items()]

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, of any size, to the output in [0, 1]."""
        height, width = image.shape[-2:]
        image, mask = pad_to_multiple(image, mask, 8, min_side=16, mode="symmetric")
        return Prediction(crop(self.generator(empty_holes(image, mask), mask), height, width))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the L1 terms, and those of the discriminator and of feature networks, on the raw output."""
        image, mask, output = batch["image"], batch["mask"], prediction.image

        @cache
        def fake() -> tuple[Tensor, list[Tensor]]:
            logits, features = self.discriminator(output)
            return logits, features

        def feature_matching() -> Tensor:
            _, targets = self.discriminator(image)
            pairs = zip(fake()[1], targets, strict=True)
            return torch.stack([mse_loss(at_least_float32(a), at_least_float32(b)) for a, b in pairs]).mean()

        return {
            "valid": lambda: masked_l1(output - image, 1 - mask),
            "hole": lambda: masked_l1(output - image, mask),
            "adversarial": lambda: non_saturating_generator(fake()[0]),
            "feature_matching": feature_matching,
            "segmentation_perceptual": lambda: segmentation_loss(self.segmentation(output), self.segmentation(image)),
            "vgg_perceptual": lambda: perceptual_loss(self.vgg(output), self.vgg(image)),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the loss of images, the mask-aware loss of outputs, and R1 at images."""
        image = batch["image"].detach().requires_grad_(self.uses_loss("r1"))
        real, _ = self.discriminator(image)
        fake, _ = self.discriminator(prediction.image)
        self.record_logits("real", real)
        self.record_logits("fake", fake)
        return {
            "real": bce_real(real),
            "fake": mask_aware_fake(fake, batch["mask"]),
            "r1": lambda: r1_of_logits(real, image),
        }

    def stages(self) -> tuple[Stage, ...]:
        """The stages as given; in the official variant the discriminator uses an image of the updated generator."""
        stages = super().stages()
        if self.variant == "paper":
            return stages
        return tuple(replace(stage, recompute=stage.update == "generator_first") for stage in stages)

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> list[str]:
        """Load weights of advimman/lama, of its generator and discriminator or of its whole training module."""
        dropped = official_weights.load(self.generator, generator, self.discriminator, discriminator, self.blocks)
        rank_zero_info(f"Loaded LaMa's public weights; dropped {len(dropped)} of other networks")
        return dropped


def mask_aware_fake(logits: Tensor, mask: Tensor) -> Tensor:
    """Average over patches: -log(1 - D) where the patch is a hole, -log D where it is known.

    Args:
        logits: (B, 1, h, w) of outputs.
        mask: (B, 1, H, W), 1 = hole; resized by nearest neighbor.

    Returns:
        Scalar.
    """
    logits = at_least_float32(logits)
    hole = interpolate(mask, size=logits.shape[-2:], mode="nearest")
    return (hole * softplus(logits) + (1 - hole) * softplus(-logits)).mean()
