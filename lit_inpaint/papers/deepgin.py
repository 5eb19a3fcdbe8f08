"""DeepGIN: Deep Generative Inpainting Network for Extreme Image Inpainting.

Chu-Tak Li, Wan-Chi Siu, Zhi-Song Liu, Li-Wen Wang, Daniel Pak-Kong Lun (The Hong Kong Polytechnic University; Ecole
Polytechnique), ECCV Workshops (AIM) 2020, arXiv 2008.07173. Public code: rlct1/gin @cfcef5d, "the code" below.

    image with holes, mask -> [coarse G1] -> coarse -> composite -> [refinement G2] -> output -+-> image
                                                           |                                   |
                                                           +--> low-resolution image ----------+ back projection (BP)

    G1  4 -> 32 /1 -> 64 /2 -> 128 /4 -> 256 /8 -> 6 SPD ResBlocks of 8 rates -> 128 /4 -> 64 /2 -> 32 /1 -> 3
    G2  4 -> 32 /1 -> 64 /2 -> 128 /4 -> 256 /8 -> 512 /16 -> 3 SPD ResBlocks of 4 rates, self-attention, 3 SPD ResBlocks
          -> 256 /8 (with attended /8) -> 128 /4 (with attended /4; here the low-resolution image) -> 64 /2 -> 32 /1 -> 3

SPD: spatial pyramid dilation. MSSA: multi-scale self-attention, at /16 and in both skip connections.

Deviations and choices:
- `variant` chooses the losses where the paper and the code differ:
                      "paper"                                      "official"
    total variation   absolute differences (eq. 6)                 squared ones, twice
    style             L1 of Gram matrices, each layer alike (eq. 5)  their squared distance, layers weighted 1/32 … 1
    perceptual        each layer alike (eq. 4)                     layers weighted 1/32 … 1
    VGG-19 input      the image, features before ReLU              224x224 pixels of it, four of five features after ReLU
  The published loss weights (80 for style, 0.1 for total variation) belong to "official".
- The network is the code's in both variants. In the text the input of G2 is "I_coarse", and BP corrects "I_out"; the code takes
  the composites of both. The score maps of D have 67x67 and 35x35 pixels at 256x256 (figure 2: 64x64 and 32x32) and 256
  channels, each of them a score.
- The losses of D have weight 0.5 (the code; eq. 3 has 1, which makes no difference to Adam).
- "Alternately": in the code one forward pass serves both players; G steps first, D learns from the image of before.
- Warm-up and main stage follow section 5.1. The code has no warm-up; Adam at 1e-4 for it is a choice. The decay by epochs is
  the code's: 11 epochs at the first rate, the last at 1/90 of it.
- Spectral norm is torch's: its gradients belong to the same forward pass. The code's use the last of three forward passes.
- The code clips both players' gradients together at 3 since 2020-09-11, after the paper; here nothing is clipped.
- The ablations of Table 1 follow from its parameter counts: no multi-scale attention, no skip connections. Other ResBlocks have
  the SPD ResBlock's activation and padding. Masks, test images: `experiments/data/three_masks_256.yaml`; sizes: `any_size`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

from lit_inpaint.engine.any_size import complete_subsampled, resize_bicubic
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import hinge_fake, hinge_generator, hinge_real
from lit_inpaint.losses.l1 import masked_l1
from lit_inpaint.losses.perceptual import perceptual_loss
from lit_inpaint.losses.style import style_loss
from lit_inpaint.losses.total_variation import total_variation
from lit_inpaint.losses.vgg_features import VGGFeatures, VGGWeights, of_output_and_composite
from lit_inpaint.nets.multiscale_discriminator import MultiscaleDiscriminator
from lit_inpaint.nets.self_attention import SelfAttention
from lit_inpaint.official_weights import deepgin as official_weights
from lit_inpaint.schedules import Linear, Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite

Block = Literal["standard", "dilated", "pyramid"]
Attention = Literal["none", "single", "multi"]
AnySize = Literal["subsampled", "official", "whole"]
Variant = Literal["paper", "official"]

_SLOPE = 0.2
_RATES_8 = (2, 3, 4, 5, 6, 8, 10, 1)  # in the code's order of channels
_RATES_4 = (2, 3, 4, 5)
_L1_ONLY: dict[str, Value] = {"adversarial": 0.0, "perceptual": 0.0, "style": 0.0, "tv": 0.0}


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms (section 5.1).

    Attributes:
        hole: absolute error of hole pixels, averaged over all pixels, of coarse, low-resolution and final image (eq. 1).
        valid: the same of known pixels.
        adversarial: negated scores of the composite by D, both scales added (eq. 2).
        perceptual: distance of VGG-19 features, of the output and of the composite (eq. 4).
        style: distance of their Gram matrices, of the output and of the composite (eq. 5).
        tv: total variation of the composite (eq. 6).
        real: hinge loss of D's scores of the target, both scales added (eq. 3).
        fake: hinge loss of D's scores of the composite.
    """

    hole: Value = 5.0
    valid: Value = 1.0
    adversarial: Value = 0.001
    perceptual: Value = 0.05
    style: Value = 80.0
    tv: Value = 0.1
    real: Value = 0.5
    fake: Value = 0.5


# Generators -----------------------------------------------------------------------------------------------------------------


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution with replicate padding; stride 2 with kernel 4 halves even sizes."""
    padding = (kernel - 1) // 2 * dilation
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, padding_mode="replicate")


def conv_lrelu(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution and LeakyReLU."""
    return nn.Sequential(conv(c_in, c_out, kernel, stride), nn.LeakyReLU(_SLOPE, inplace=True))


def upsample_conv(c_in: int, c_out: int) -> nn.Sequential:
    """Bilinear upsampling by 2, a convolution and LeakyReLU."""
    return nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), conv_lrelu(c_in, c_out))


class ResBlock(nn.Module):
    """The input plus two convolutions with ReLU between them (figure 3); the first one standard, dilated by 2, or SPD.

    Args:
        width: channels in and out.
        rates: dilations of the first convolution; each has an equal fraction of the channels.
    """

    def __init__(self, width: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv(width, width // len(rates), dilation=rate) for rate in rates)
        self.fusion = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        branches = torch.cat([branch(x) for branch in self.branches], dim=1)
        fused: Tensor = self.fusion(branches.relu_())
        return x + fused


def res_blocks(kind: Block, width: int, spd_rates: tuple[int, ...], count: int) -> list[nn.Module]:
    """Create `count` blocks; `spd_rates` are the dilations of an SPD ResBlock ("pyramid")."""
    rates = {"standard": (1,), "dilated": (2,), "pyramid": spd_rates}[kind]
    return [ResBlock(width, rates) for _ in range(count)]


class CoarseGenerator(nn.Sequential):
    """G1: an encoder, six blocks at an eighth of the size, a decoder (section 4.1)."""

    def __init__(self, block: Block, width: int) -> None:
        w = width
        super().__init__(
            conv_lrelu(4, w, 7),
            *(conv_lrelu(a, b, 4, 2) for a, b in pairwise((w, 2 * w, 4 * w, 8 * w))),
            *res_blocks(block, 8 * w, _RATES_8, 6),
            *(upsample_conv(a, b) for a, b in pairwise((8 * w, 4 * w, 2 * w, w))),
            conv(w, 3, 7),
        )


class AttentionSkip(nn.Sequential):
    """A skip connection of MSSA: halve the channels, then self-attention."""

    def __init__(self, width: int) -> None:
        super().__init__(conv_lrelu(width, width // 2), SelfAttention(width // 2))


class BackProjection(nn.Module):
    """BP: correct an image by its residual to a predicted low-resolution image (figure 2, the shaded region)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.low_resolution = nn.Sequential(conv_lrelu(4 * width, width), conv(width, 3))
        self.alpha = nn.Sequential(conv(width, 1), nn.Sigmoid())

    def forward(self, image: Tensor, quarter: Tensor, full: Tensor) -> tuple[Tensor, Tensor]:
        """Correct an image.

        Args:
            image: composite (B, 3, H, W).
            quarter: features (B, 4 width, H / 4, W / 4), from which the low-resolution image is predicted.
            full: features (B, width, H, W), from which the weight of the correction is predicted.

        Returns:
            The corrected image, and the low-resolution one.
        """
        low = self.low_resolution(quarter)
        residual = low - resize(image, low.shape[-2:])
        corrected = image + self.alpha(full) * resize(residual, image.shape[-2:])
        return corrected, low


class RefinementGenerator(nn.Module):
    """G2: like G1 with one level more, attention and back projection; the arguments are those of `DeepGIN`."""

    def __init__(self, block: Block, attention: Attention, back_projection: bool, width: int) -> None:
        super().__init__()
        w = width
        mssa = attention == "multi"
        self.encoder = nn.ModuleList(
            [conv_lrelu(4, w, 7), *(conv_lrelu(a, b, 4, 2) for a, b in pairwise((w, 2 * w, 4 * w, 8 * w, 16 * w)))]
        )
        self.mssa_quarter = AttentionSkip(4 * w) if mssa else None
        self.mssa_eighth = AttentionSkip(8 * w) if mssa else None
        self.bottleneck = nn.Sequential(
            *res_blocks(block, 16 * w, _RATES_4, 3),
            *([] if attention == "none" else [SelfAttention(16 * w)]),
            *res_blocks(block, 16 * w, _RATES_4, 3),
        )
        self.decoder_eighth, self.decoder_quarter = upsample_conv(16 * w, 8 * w), upsample_conv(8 * w, 4 * w)
        self.merge_eighth = conv_lrelu(12 * w, 8 * w) if mssa else None
        self.merge_quarter = conv_lrelu(6 * w, 4 * w) if mssa else None
        self.decoder = nn.Sequential(upsample_conv(4 * w, 2 * w), upsample_conv(2 * w, w))
        self.to_rgb = conv(w, 3, 7)
        self.back_projection = BackProjection(w) if back_projection else None

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map the coarse composite (B, 3, H, W) and the mask (B, 1, H, W) to the output and, with BP, (B, 3, H/4, W/4)."""
        x, encoded = torch.cat([image, mask], dim=1), []
        for layer in self.encoder:
            x = layer(x)
            encoded.append(x)
        x = self.decoder_eighth(self.bottleneck(x))
        if self.mssa_eighth is not None and self.merge_eighth is not None:
            x = self.merge_eighth(torch.cat([x, self.mssa_eighth(encoded[3])], dim=1))
        quarter = self.decoder_quarter(x)
        if self.mssa_quarter is not None and self.merge_quarter is not None:
            quarter = self.merge_quarter(torch.cat([quarter, self.mssa_quarter(encoded[2])], dim=1))
        full = self.decoder(quarter)
        output = self.to_rgb(full)
        if self.back_projection is None:
            return output, None
        corrected, low = self.back_projection(composite(image, output, mask), quarter, full)
        return corrected, low


class DeepGINGenerator(nn.Module):
    """G1 and, if `refinement`, G2; the arguments are those of `DeepGIN`."""

    def __init__(
        self, refinement: bool, block: Block, attention: Attention, back_projection: bool, width: int, init_scale: float
    ) -> None:
        super().__init__()
        self.coarse = CoarseGenerator(block, width)
        self.refinement = RefinementGenerator(block, attention, back_projection, width) if refinement else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # in the attention blocks too (the code)
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                module.weight.data.mul_(init_scale)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Complete an image (B, 3, H, W) in [0, 1], white in the holes, with a mask (B, 1, H, W); sides multiples of 16."""
        coarse = self.coarse(torch.cat([image, mask], dim=1))
        if self.refinement is None:
            return Prediction(coarse)
        output, low = self.refinement(composite(image, coarse, mask), mask)
        return Prediction(output, {"coarse": coarse} if low is None else {"coarse": coarse, "low_resolution": low})


def resize(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, H, W) to (B, C, *size): bilinear, corners aligned, without antialiasing."""
    return interpolate(image, size=tuple(size), mode="bilinear", align_corners=True)


# The paper ------------------------------------------------------------------------------------------------------------------


class DeepGIN(Inpainter):
    """DeepGIN, and the seven rows of its Table 1 (`published_as`).

    Args:
        refinement: use the second generator; without it, the output is the coarse image.
        block: kind of the blocks in both generators: "standard", "dilated" (by 2), or "pyramid" (SPD).
        attention: "none", "single" (SA, in the bottleneck only) or "multi" (MSSA, at three scales, with skip connections).
        back_projection: BP.
        width: channels of the first layer.
        discriminator_width: channels after the first convolution of each discriminator.
        variant: "paper" or "official" losses; see the top of this file.
        vgg: weights of the VGG-19 in two losses: "imagenet", "random" (from a fixed seed), or a file. VGG is not
            created if both losses have weight 0 in all stages.
        any_size: how images larger than `size` are completed. "subsampled" (section 6.1): resized to multiples of `size`, then
            taken apart into k² small images of every k-th pixel. "official", for all images: as in the code, also average five
            predictions (three rotations and a reflection), then downsample by 2 and upsample again, which blurs. "whole": the
            network processes the whole image; memory for attention grows with the fourth power of its side.
        size: side of the training images, a multiple of 16.
        init_scale: scale of the He initialization of the generators: "smaller" in section 5.1, a tenth in the code. A tenth
            starts on a plateau, which short runs do not leave.
        weights: of the loss terms.
        generator_optimizer: Adam 1e-4, betas 0.5 and 0.999 (section 5.1).
        discriminator_optimizer: Adam 4e-4, the same betas (section 5.1).
        stages: 10 epochs of the L1 loss alone, then 100 of both players, with constant rates for 10 epochs and a decay over 90.
        training: options of the engine.

    Raises:
        UserError: arguments of the second generator without it; widths below 1 or a `size` that is no multiple of 16.
    """

    generator: DeepGINGenerator
    discriminator: MultiscaleDiscriminator
    multiple: ClassVar[int] = 16
    published_as: ClassVar[dict[str, dict[str, object]]] = {
        name: {"width": 32, "refinement": refinement, "block": block, "attention": attention, "back_projection": projection}
        for name, refinement, block, attention, projection in (
            ("StdResBlk (Coarse only)", False, "standard", "none", False),
            ("StdResBlk", True, "standard", "none", False),
            ("StdResBlk-SA", True, "standard", "single", False),
            ("StdResBlk-MSSA", True, "standard", "multi", False),
            ("DilatedResBlk-MSSA", True, "dilated", "multi", False),
            ("SPDResBlk-MSSA", True, "pyramid", "multi", False),
            ("SPDResBlk-MSSA-BP", True, "pyramid", "multi", True),
        )
    }

    def __init__(
        self,
        refinement: bool = True,
        block: Block = "pyramid",
        attention: Attention = "multi",
        back_projection: bool = True,
        width: int = 32,
        discriminator_width: int = 64,
        variant: Variant = "paper",
        vgg: VGGWeights = "imagenet",
        any_size: AnySize = "subsampled",
        size: int = 256,
        init_scale: float = 0.1,
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=1e-4, betas=(0.5, 0.999)),
        discriminator_optimizer: OptimizerSettings = Adam(lr=4e-4, betas=(0.5, 0.999)),
        stages: tuple[Stage, ...] = (
            Stage("warm-up", discriminator=False, epochs=10, weights=_L1_ONLY),
            Stage(
                "main",
                update="generator_first",
                epochs=100,
                generator_optimizer=Adam(Linear(1e-4, hold=10, length=90, by="epoch"), betas=(0.5, 0.999)),
                discriminator_optimizer=Adam(Linear(4e-4, hold=10, length=90, by="epoch"), betas=(0.5, 0.999)),
                fresh_optimizers=True,
            ),
        ),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        if not refinement and (attention != "none" or back_projection):
            raise UserError(
                "DeepGIN: attention and back projection belong to the second generator; with refinement=False, set "
                "attention='none' and back_projection=False too"
            )
        if width < 1 or discriminator_width < 1:
            raise UserError(f"DeepGIN: width is {width}, discriminator_width {discriminator_width}; both take 1 or more")
        if size < 16 or size % 16:
            raise UserError(f"DeepGIN: size is {size}; it takes a multiple of 16")
        self.variant = variant
        self.any_size = any_size
        self.size = size
        self.subsample_above = size if any_size == "subsampled" else None
        self.generator = DeepGINGenerator(refinement, block, attention, back_projection, width, init_scale)
        self.discriminator = MultiscaleDiscriminator(discriminator_width)
        self.vgg = VGGFeatures(19, _OFFICIAL_LAYERS if variant == "official" else _PAPER_LAYERS, vgg)

    def load_loss_networks(self) -> list[str]:
        """Load VGG, if a loss uses it."""
        if not self.uses_loss("perceptual", "style"):
            return []
        self.vgg.load()
        return [f"Perceptual and style losses use {self.vgg.description}"]

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the raw output.

        Raises:
            UserError: sides that are no multiples of 16.
        """
        if any(side % self.multiple for side in image.shape[-2:]):
            height, width = image.shape[-2:]
            raise UserError(f"DeepGIN learns from images whose sides are multiples of 16, not {width}x{height}: --data.size 64")
        prediction: Prediction = self.generator(whiten_holes(image, mask), mask)
        return prediction

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute eq. 1, 2 and 4 to 6."""
        image, mask = batch["image"], batch["mask"]
        output, complete = prediction.image, composite(image, prediction.image, mask)
        differences = [(output - image, mask)]  # eq. 1
        if "coarse" in prediction.stages:
            differences.append((prediction.stages["coarse"] - image, mask))
        if "low_resolution" in prediction.stages:
            low = prediction.stages["low_resolution"]
            small_image, small_mask = (resize(x, low.shape[-2:]) for x in (image, mask))
            differences.append((low - small_image, small_mask))  # the mask is fractional at the edges of holes
        official = self.variant == "official"
        weights = _LAYER_WEIGHTS if official else None
        distance = partial(style_loss, weights=weights, distance=mse_loss) if official else style_loss

        both = of_output_and_composite(lambda x: self.vgg(resize(x, (224, 224)) if official else x), output, complete, image)
        return {
            "hole": torch.stack([masked_l1(difference, m) for difference, m in differences]).sum(),
            "valid": torch.stack([masked_l1(difference, 1 - m) for difference, m in differences]).sum(),
            "adversarial": lambda: hinge_generator(self.discriminator(whiten_holes(image, mask), complete)),
            "perceptual": lambda: both(partial(perceptual_loss, weights=weights)),
            "style": lambda: both(distance),
            "tv": 2 * total_variation(complete, squared=True) if official else total_variation(complete),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute eq. 3."""
        image, mask = batch["image"], batch["mask"]
        masked, complete = whiten_holes(image, mask), composite(image, prediction.image, mask)
        return {
            "real": hinge_real(self.record_logits("real", self.discriminator(masked, image))),
            "fake": hinge_fake(self.record_logits("fake", self.discriminator(masked, complete))),
        }

    def predict(self, image: Tensor, mask: Tensor) -> Tensor:
        """Compute the raw output for images of any size, as `any_size` chooses."""
        if self.any_size != "official":
            return super().predict(image, mask)
        height, width = image.shape[-2:]
        whole = complete_subsampled(self._ensemble, whiten_holes(image, mask), mask, self.size)
        half = resize_bicubic(whole, (max(1, height // 2), max(1, width // 2)))
        return resize_bicubic(half, (height, width))

    def _ensemble(self, image: Tensor, mask: Tensor) -> Tensor:
        """Average the 8-bit outputs for an image (1, 3, size, size), three rotations and a reflection of it."""
        image, mask = image.mT, mask.mT  # the code swaps rows and columns, and swaps them back afterwards
        transforms: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
            (partial(torch.rot90, k=turn, dims=(-2, -1)), partial(torch.rot90, k=-turn, dims=(-2, -1))) for turn in range(4)
        ]
        transforms.append((partial(torch.flip, dims=(-1,)), partial(torch.flip, dims=(-1,))))
        outputs = [back((self(there(image), there(mask)).image.clamp(0, 1) * 255).floor()) for there, back in transforms]
        return (torch.stack(outputs).mean(dim=0).round() / 255).mT

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> list[str]:
        """Load weights of rlct1/gin: `ImageTinker2` and `MultiscaleDiscriminator`; see `official_weights.deepgin`."""
        official_weights.load(self.generator, generator, self.discriminator, discriminator)
        rank_zero_info(f"Loaded the public weights of netG{'' if discriminator is None else ' and netD'}")
        return []


def whiten_holes(image: Tensor, mask: Tensor) -> Tensor:
    """Set the holes (`mask` = 1) of `image` (B, 3, H, W) to white."""
    return torch.where(mask > 0.5, 1.0, image)


# The code cuts VGG-19 after these convolutions, but the ReLU that follows each works in place and changes their outputs.
_OFFICIAL_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "conv5_1")
_PAPER_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
_LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
