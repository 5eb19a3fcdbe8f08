"""DeepGIN: Deep Generative Inpainting Network for Extreme Image Inpainting.

Chu-Tak Li, Wan-Chi Siu, Zhi-Song Liu, Li-Wen Wang, Daniel Pak-Kong Lun (The Hong Kong Polytechnic University; Ecole
Polytechnique), ECCV Workshops (AIM) 2020, arXiv 2008.07173. Public code: rlct1/gin @cfcef5d, "the code" below.

    image with holes, mask -> [coarse G1] -> coarse -> known pixels put back -> [refinement G2] -> output -+-> image
                                                                  |                                        |
                                                                  +--> low-resolution image ---------------+ back projection

    G1  4 -> 32 /1 -> 64 /2 -> 128 /4 -> 256 /8 -> 6 pyramids of 8 rates -> 128 /4 -> 64 /2 -> 32 /1 -> 3
    G2  4 -> 32 /1 -> 64 /2 -> 128 /4 -> 256 /8 -> 512 /16 -> 3 pyramids of 4 rates, attention, 3 pyramids
          -> 256 /8 (with attended /8) -> 128 /4 (with attended /4; here the low-resolution image) -> 64 /2 -> 32 /1 -> 3

Deviations and choices:
- `variant` chooses the losses where the paper and the code differ:
                      "paper"                                      "official"
    total variation   absolute differences (eq. 6)                 squared ones, twice
    style             L1 of Gram matrices, each layer alike (eq. 5)  their squared distance, layers weighted 1/32 … 1
    perceptual        each layer alike (eq. 4)                     layers weighted 1/32 … 1
    VGG-19 sees       the image, features before ReLU              224x224 pixels of it, four of five features after ReLU
  "official" is the default, since the published weights (80 for style, 0.1 for total variation) belong to it.
- The network is the code's under both. The text feeds G2 "I_coarse" and projects back "I_out"; the code puts the known pixels
  into both first. D's maps have 67x67 and 35x35 places at 256x256 (figure 2: 64x64 and 32x32) and 256 channels, each
  of them a score.
- The losses of D have weight 0.5 (the code; eq. 3 has 1, which Adam does not tell from 0.5).
- "Alternately": in the code one forward for both, G steps first, D learns from the image that G made before its step.
- Warm-up and main stage as in section 5.1. The code has no warm-up; that it takes Adam at 1e-4 too is a choice. The decay by
  epochs is the code's: 11 at the first rate, the last at 1/90 of it.
- Spectral norm is torch's: one power iteration in each training forward, and gradients that go through the norm of that same
  forward. The code's backward reads the vectors of the last of three forwards.
- The code clips both players' gradients together at 3 since 2020-09-11, after the paper; here nothing is clipped.
- The blocks that Table 1 takes away are the ones its counts force: without multi-scale attention, both skip connections go
  whole, with the convolutions that merge them. Activation and padding of the other blocks are those of the pyramid.
- Images larger than 256x256: see `any_size`. Smaller ones are filled up to a multiple of 16.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, mse_loss, normalize
from torch.nn.utils.parametrizations import spectral_norm

from lit_inpaint.engine.any_size import complete_subsampled, resize_bicubic
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import hinge_fake, hinge_generator, hinge_real
from lit_inpaint.losses.perceptual import VGGFeatures, VGGWeights, of_output_and_composite, perceptual_loss, style_loss
from lit_inpaint.losses.total_variation import total_variation
from lit_inpaint.nets.self_attention import SelfAttention
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
_L1_ALONE: dict[str, Value] = {"adversarial": 0.0, "perceptual": 0.0, "style": 0.0, "tv": 0.0}


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms (section 5.1).

    Attributes:
        hole: absolute error of hole pixels, averaged over all pixels, of coarse, low-resolution and final image (eq. 1).
        valid: the same of known pixels.
        adversarial: minus D's scores of the composite, both scales added (eq. 2).
        perceptual: distance of VGG-19's features, of the output and of the composite (eq. 4).
        style: distance of their Gram matrices, again of both (eq. 5).
        tv: total variation of the composite (eq. 6).
        real: hinge loss of D's scores of the truth, both scales added (eq. 3).
        fake: hinge loss of its scores of the composite.
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


def convolution(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution with replicated margins; stride 2 with kernel 4 halves even sizes."""
    margin = (kernel - 1) // 2 * dilation
    return nn.Conv2d(c_in, c_out, kernel, stride, padding=margin, dilation=dilation, padding_mode="replicate")


def layer(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution and LeakyReLU."""
    return nn.Sequential(convolution(c_in, c_out, kernel, stride), nn.LeakyReLU(_SLOPE, inplace=True))


def upward(c_in: int, c_out: int) -> nn.Sequential:
    """To twice the size, then a convolution and LeakyReLU."""
    return nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), layer(c_in, c_out))


class ResBlock(nn.Module):
    """ReLU between two convolutions, plus the input (figure 3): the first one standard, dilated by 2, or a pyramid of rates.

    Args:
        width: channels in and out.
        rates: dilations of the first convolution; each makes an equal share of the channels.
    """

    def __init__(self, width: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(convolution(width, width // len(rates), dilation=rate) for rate in rates)
        self.fusion = convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        branches = torch.cat([branch(x) for branch in self.branches], dim=1)
        fused: Tensor = self.fusion(branches.relu_())
        return x + fused


def blocks(kind: Block, width: int, rates: tuple[int, ...], count: int) -> list[nn.Module]:
    """Some blocks in a row; `rates` are those of a pyramid."""
    rates = {"standard": (1,), "dilated": (2,), "pyramid": rates}[kind]
    return [ResBlock(width, rates) for _ in range(count)]


class CoarseGenerator(nn.Sequential):
    """G1: an encoder, six blocks at an eighth of the size, a decoder (section 4.1)."""

    def __init__(self, block: Block, width: int) -> None:
        w = width
        super().__init__(
            layer(4, w, 7),
            *(layer(a, b, 4, 2) for a, b in pairwise((w, 2 * w, 4 * w, 8 * w))),
            *blocks(block, 8 * w, _RATES_8, 6),
            *(upward(a, b) for a, b in pairwise((8 * w, 4 * w, 2 * w, w))),
            convolution(w, 3, 7),
        )


class AttendedSkip(nn.Sequential):
    """Half as many channels, then self-attention, on the way past the bottleneck."""

    def __init__(self, width: int) -> None:
        super().__init__(layer(width, width // 2), SelfAttention(width // 2))


class BackProjection(nn.Module):
    """Corrects an image by what an own low-resolution image says that it should be (figure 2, the shaded region)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.low = nn.Sequential(layer(4 * width, width), convolution(width, 3))
        self.alpha = nn.Sequential(convolution(width, 1), nn.Sigmoid())

    def forward(self, image: Tensor, quarter: Tensor, full: Tensor) -> tuple[Tensor, Tensor]:
        """Correct an image.

        Args:
            image: (B, 3, H, W), known pixels in place.
            quarter: features (B, 4 width, H / 4, W / 4), of which the low-resolution image is made.
            full: features (B, width, H, W), which say how far to trust it.

        Returns:
            The corrected image, and the low-resolution one.
        """
        low = self.low(quarter)
        residual = low - resized(image, low.shape[-2:])
        corrected = image + self.alpha(full) * resized(residual, image.shape[-2:])
        return corrected, low


class RefinementGenerator(nn.Module):
    """G2: as G1, one level deeper, with attention at up to three scales and back projection.

    Args:
        block: kind of the six blocks at the bottom.
        attention: none, at the bottom alone, or at three scales with skip connections.
        back_projection: correct the output by the low-resolution image.
        width: channels of the first layer.
    """

    def __init__(self, block: Block, attention: Attention, back_projection: bool, width: int) -> None:
        super().__init__()
        w = width
        multi = attention == "multi"
        self.enter = nn.ModuleList(
            [layer(4, w, 7), *(layer(a, b, 4, 2) for a, b in pairwise((w, 2 * w, 4 * w, 8 * w, 16 * w)))]
        )
        self.skip_quarter = AttendedSkip(4 * w) if multi else None
        self.skip_eighth = AttendedSkip(8 * w) if multi else None
        self.bottom = nn.Sequential(
            *blocks(block, 16 * w, _RATES_4, 3),
            *([] if attention == "none" else [SelfAttention(16 * w)]),
            *blocks(block, 16 * w, _RATES_4, 3),
        )
        self.up_eighth, self.up_quarter = upward(16 * w, 8 * w), upward(8 * w, 4 * w)
        self.merge_eighth = layer(12 * w, 8 * w) if multi else None
        self.merge_quarter = layer(6 * w, 4 * w) if multi else None
        self.leave = nn.Sequential(upward(4 * w, 2 * w), upward(2 * w, w))
        self.to_rgb = convolution(w, 3, 7)
        self.back_projection = BackProjection(w) if back_projection else None

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Coarsely filled image (B, 3, H, W) and mask (B, 1, H, W) to the output and, by `BackProjection`, (B, 3, H/4, W/4)."""
        x, maps = torch.cat([image, mask], dim=1), []
        for enter in self.enter:
            x = enter(x)
            maps.append(x)
        x = self.up_eighth(self.bottom(x))
        if self.skip_eighth is not None and self.merge_eighth is not None:
            x = self.merge_eighth(torch.cat([x, self.skip_eighth(maps[3])], dim=1))
        quarter = self.up_quarter(x)
        if self.skip_quarter is not None and self.merge_quarter is not None:
            quarter = self.merge_quarter(torch.cat([quarter, self.skip_quarter(maps[2])], dim=1))
        full = self.leave(quarter)
        output = self.to_rgb(full)
        if self.back_projection is None:
            return output, None
        corrected, low = self.back_projection(composite(image, output, mask), quarter, full)
        return corrected, low


class DeepGINGenerator(nn.Module):
    """G1 and, unless left out, G2.

    Args:
        refinement: with G2.
        block: kind of the blocks in both.
        attention: of G2.
        back_projection: of G2.
        width: channels of the first layer of both.
        init_scale: as in `DeepGIN`.
    """

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
        """Image (B, 3, H, W) in [0, 1], white in the holes, and mask (B, 1, H, W), sides multiples of 16."""
        coarse = self.coarse(torch.cat([image, mask], dim=1))
        if self.refinement is None:
            return Prediction(coarse)
        output, low = self.refinement(composite(image, coarse, mask), mask)
        return Prediction(output, {"coarse": coarse} if low is None else {"coarse": coarse, "low_resolution": low})


def resized(image: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) to (B, C, *size), bilinear from corner to corner; to a smaller size it picks points and averages nothing."""
    return interpolate(image, size=tuple(size), mode="bilinear", align_corners=True)


# Discriminator --------------------------------------------------------------------------------------------------------------


class ScoreMaps(nn.Sequential):
    """Four 4x4 convolutions with spectral norm and LeakyReLU between them: 6 channels to `4 width` maps of scores."""

    def __init__(self, width: int) -> None:
        layers: list[nn.Module] = []
        for (a, b), stride in zip(pairwise((6, width, 2 * width, 4 * width, 4 * width)), (2, 2, 1, 1), strict=True):
            layers += [spectral_norm(nn.Conv2d(a, b, 4, stride, padding=2)), nn.LeakyReLU(_SLOPE, inplace=True)]
        super().__init__(*layers[:-1])


class ConditionalDiscriminator(nn.Module):
    """Two networks alike, one for the image and one for half of its size; both see what was known as well (section 4.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.full_size = ScoreMaps(width)
        self.half_size = ScoreMaps(width)

    def forward(self, masked: Tensor, image: Tensor) -> list[Tensor]:
        """Masked image and judged image, both (B, 3, H, W), to scores of two scales (B, 4 width, h, w); positive = real."""
        pair = torch.cat([masked, image], dim=1)
        halved = avg_pool2d(pair, 3, stride=2, padding=1, count_include_pad=False)
        return [self.full_size(pair), self.half_size(halved)]


# The paper ------------------------------------------------------------------------------------------------------------------


class DeepGIN(Inpainter):
    """DeepGIN, and the seven rows of its Table 1 (`published_as`).

    Args:
        refinement: with the second generator; without it, the output is the coarse image.
        block: kind of the blocks in both generators: "standard", "dilated" (by 2), or "pyramid" (SPD).
        attention: "none", "single" (SA, at the bottom alone) or "multi" (MSSA, at three scales, with skip connections).
        back_projection: BP.
        width: channels of the first layer.
        discriminator_width: channels after the first convolution of each discriminator.
        variant: whose losses; see the head of this file.
        vgg: weights of the VGG-19 in the perceptual and style losses: ImageNet's, or random ones from a fixed seed. With both
            losses at weight 0 throughout, no VGG is made.
        any_size: how images larger than `size` are completed. "subsampled" (section 6.1): resized to multiples of `size`, every
            k-th pixel makes one of k² small images, which are completed, and put together again. "official": as the code does
            it, and with images of any size: the mean of five predictions (three rotations and a reflection) is taken, and the
            result is halved and enlarged again, a blur. "whole": the network sees the image as it is; attention then takes
            memory with the fourth power of its side.
        size: side of the images that the network is trained on, a multiple of 16.
        init_scale: the generators' first weights over those of He et al.: "smaller" in section 5.1, a tenth in the code. A
            tenth in each layer begins on a plateau, which short runs do not leave.
        weights: of the loss terms.
        generator_optimizer: Adam 1e-4, betas 0.5 and 0.999 (section 5.1).
        discriminator_optimizer: Adam 4e-4, the same betas (section 5.1).
        stages: 10 epochs of the L1 loss alone, then 100 of both players, in which the rates hold for 10 and fall over 90.
        training: how the engine runs it.

    Raises:
        UserError: arguments that go with a second generator, but there is none; widths or a size that do not divide.
    """

    generator: DeepGINGenerator
    discriminator: ConditionalDiscriminator
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
        variant: Variant = "official",
        vgg: VGGWeights = "imagenet",
        any_size: AnySize = "subsampled",
        size: int = 256,
        init_scale: float = 0.1,
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=1e-4, betas=(0.5, 0.999)),
        discriminator_optimizer: OptimizerSettings = Adam(lr=4e-4, betas=(0.5, 0.999)),
        stages: tuple[Stage, ...] = (
            Stage("warm-up", discriminator=False, epochs=10, weights=_L1_ALONE),
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
                "DeepGIN: attention and back projection belong to the second generator; with refinement=False, say "
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
        self.discriminator = ConditionalDiscriminator(discriminator_width)
        self.vgg = VGGFeatures(19, _OFFICIAL_LAYERS if variant == "official" else _PAPER_LAYERS, vgg)

    def setup(self, stage: str) -> None:
        """Fetch the loss network before training, if any loss looks through it."""
        super().setup(stage)
        if stage == "fit" and self.uses_loss("perceptual", "style"):
            self.vgg.load()
            rank_zero_info(f"Perceptual and style losses look through {self.vgg.about}")

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, sides multiples of 16, to the raw output.

        Raises:
            UserError: other sides.
        """
        if any(side % self.multiple for side in image.shape[-2:]):
            height, width = image.shape[-2:]
            raise UserError(f"DeepGIN learns from images whose sides are multiples of 16, not {width}x{height}: --data.size 64")
        prediction: Prediction = self.generator(whiten_holes(image, mask), mask)
        return prediction

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Eq. 1, 2 and 4 to 6."""
        image, mask = batch["image"], batch["mask"]
        output, complete = prediction.image, composite(image, prediction.image, mask)
        pairs = [(output, image, mask)]  # eq. 1: each with its truth and its mask
        if "coarse" in prediction.stages:
            pairs.append((prediction.stages["coarse"], image, mask))
        if "low_resolution" in prediction.stages:
            low = prediction.stages["low_resolution"]
            pairs.append((low, resized(image, low.shape[-2:]), resized(mask, low.shape[-2:])))  # of holes' edges, a fraction
        official = self.variant == "official"
        weights = _LAYER_WEIGHTS if official else None
        distance = partial(style_loss, weights=weights, distance=mse_loss) if official else style_loss

        both = of_output_and_composite(lambda x: self.vgg(resized(x, (224, 224)) if official else x), output, complete, image)
        return {
            "hole": _total([((a - b) * m).abs().mean() for a, b, m in pairs]),
            "valid": _total([((a - b) * (1 - m)).abs().mean() for a, b, m in pairs]),
            "adversarial": lambda: hinge_generator(self.discriminator(whiten_holes(image, mask), complete)),
            "perceptual": lambda: both(partial(perceptual_loss, weights=weights)),
            "style": lambda: both(distance),
            "tv": 2 * total_variation(complete, squared=True) if official else total_variation(complete),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Eq. 3."""
        image, mask = batch["image"], batch["mask"]
        masked, complete = whiten_holes(image, mask), composite(image, prediction.image, mask)
        return {
            "real": hinge_real(self.record_logits("real", self.discriminator(masked, image))),
            "fake": hinge_fake(self.record_logits("fake", self.discriminator(masked, complete))),
        }

    def predict(self, image: Tensor, mask: Tensor) -> Tensor:
        """Compute the raw output for images of any size, as `any_size` chooses; "official" treats small images alike."""
        if self.any_size != "official":
            return super().predict(image, mask)
        height, width = image.shape[-2:]
        whole = complete_subsampled(self._ensemble, whiten_holes(image, mask), mask, self.size)
        half = resize_bicubic(whole, (max(1, height // 2), max(1, width // 2)))
        return resize_bicubic(half, (height, width))

    def _ensemble(self, image: Tensor, mask: Tensor) -> Tensor:
        """Average the 8-bit outputs for an image (1, 3, size, size), three rotations and a reflection of it."""
        image, mask = image.mT, mask.mT  # the code takes rows for columns, and turns that back afterwards
        transforms: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
            (partial(torch.rot90, k=turn, dims=(-2, -1)), partial(torch.rot90, k=-turn, dims=(-2, -1))) for turn in range(4)
        ]
        transforms.append((partial(torch.flip, dims=(-1,)), partial(torch.flip, dims=(-1,))))
        outputs = [back((self(there(image), there(mask)).image.clamp(0, 1) * 255).floor()) for there, back in transforms]
        return (torch.stack(outputs).mean(dim=0).round() / 255).mT

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> None:
        """Take over weights of rlct1/gin (`models/networks.py`: ImageTinker2, MultiscaleDiscriminator), the full model's alone.

        Args:
            generator: state dict of its netG.
            discriminator: state dict of its netD; None leaves ours as it is.

        Raises:
            UserError: weights of another network, or this is not the full model.
        """
        if "lr_coarse_tinker.1.weight" not in generator:
            raise UserError(
                "these are not weights of DeepGIN's netG (ImageTinker2), whose first is called lr_coarse_tinker.1.weight"
            )
        given: list[tuple[str, nn.Module, Mapping[str, Tensor]]] = [("netG", self.generator, generator)]
        given += [] if discriminator is None else [("netD", self.discriminator, discriminator)]
        taken = []
        for theirs, network, state in given:
            ours = {_our_name(name): value for name, value in state.items()}
            ours |= {name: normalize(value, dim=0) for name, value in ours.items() if name.endswith(("._u", "._v"))}
            wrong = {name for name in state if _our_name(name) == name}
            found = {name: value.shape for name, value in ours.items()}
            needed = {name: value.shape for name, value in network.state_dict().items()}
            names = {_our_name(name): name for name in state}
            wrong |= {names.get(name, name) for name in found.keys() | needed if found.get(name) != needed.get(name)}
            if wrong:
                raise UserError(
                    f"the public {theirs} does not fit this DeepGIN (the public weights are of the full model, DeepGIN() "
                    f"without arguments); missing, unknown or of another shape are {len(wrong)} weights: "
                    f"{', '.join(sorted(wrong)[:3])}"
                )
            taken.append((network, ours))
        for network, ours in taken:  # once all of them fit
            network.load_state_dict(ours)
        rank_zero_info(f"Loaded the public weights of netG{'' if discriminator is None else ' and netD'}")


def whiten_holes(image: Tensor, mask: Tensor) -> Tensor:
    """`image` (B, 3, H, W) with its holes (`mask` = 1) white."""
    return torch.where(mask > 0.5, 1.0, image)


def _total(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()


# The code cuts VGG-19 behind these convolutions, but the ReLU that follows each works in place, and so on what was cut off.
_OFFICIAL_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "conv5_1")
_PAPER_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
_LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)

# What the code calls our modules. Its blocks at the bottom are numbered 1, 2, 5, 3, 4, 6 from first to last.
_COARSE = {
    **{f"lr_coarse_tinker.{1 + 3 * n}": f"coarse.{n}.0" for n in range(4)},
    **{f"lr_coarse_tinker.{12 + n}": f"coarse.{4 + n}" for n in range(6)},
    **{f"lr_coarse_tinker.{20 + 4 * n}": f"coarse.{10 + n}.1.0" for n in range(3)},
    "lr_coarse_tinker.31": "coarse.13",
}
_REFINEMENT = {
    **{f"r_en_conv{n + 1}": f"enter.{n}.0" for n in range(5)},
    "r_en_skp_conv3": "skip_quarter.0.0",
    "r_de_satn3": "skip_quarter.1",
    "r_en_skp_conv4": "skip_eighth.0.0",
    "r_de_satn2": "skip_eighth.1",
    **{f"r_md_{name}": f"bottom.{n}" for n, name in enumerate(("mres1", "mres2", "mres5", "satn1", "mres3", "mres4", "mres6"))},
    "r_de_conv1": "up_eighth.1.0",
    "r_de_mix_conv1": "merge_eighth.0",
    "r_de_conv2": "up_quarter.1.0",
    "r_de_mix_conv2": "merge_quarter.0",
    "r_de_conv3": "leave.0.1.0",
    "r_de_conv4": "leave.1.1.0",
    "r_de_conv5": "to_rgb",
    "r_de_conv2_lr": "back_projection.low.0.0",
    "r_de_conv3_lr": "back_projection.low.1",
    "r_de_conv5_lr_alpha": "back_projection.alpha.0",
}
_MODULES = {
    **_COARSE,
    **{old: f"refinement.{new}" for old, new in _REFINEMENT.items()},
    "layer1": "full_size",
    "layer0": "half_size",
}
_INSIDE: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (  # and what stands behind a module's name
    (r"\.branch(\d)\.conv", lambda match: f".branches.{int(match[1]) - 1}"),
    (r"\.fusion\d\.conv", ".fusion"),
    (r"\.W\.", ".out."),
    (r"\.module\.weight_bar", ".parametrizations.weight.original"),
    (r"\.module\.weight_([uv])", r".parametrizations.weight.0._\1"),
    (r"\.module\.bias", ".bias"),
)


def _our_name(name: str) -> str:
    """What we call a weight that the code calls `name`; `name` itself if it is none of the code's."""
    place = max((known for known in _MODULES if name.startswith(f"{known}.")), key=len, default=None)
    if place is None:
        return name
    rest = name.removeprefix(place)
    for pattern, ours in _INSIDE:
        rest = re.sub(pattern, ours, rest)
    return _MODULES[place] + rest
