"""PEPSI: Fast Image Inpainting with Parallel Decoding Network; its depthwise-separable variant; Diet-PEPSI.

Min-cheol Sagong, Yong-goo Shin, Seung-wook Kim, Seung Park, Sung-jea Ko (Korea University), CVPR 2019. Diet-PEPSI: Yong-Goo
Shin et al., "PEPSI++: Fast and Lightweight Network for Image Inpainting", IEEE TNNLS 2021 (arXiv 1905.09010). The separable
variant: Grigor Nalbandyan, Arpen Matinyan, Levon Avetisyan, a student report on reproducing PEPSI ("the report" below). Public
code, of PEPSI alone: Forty-lock/PEPSI-Fast_image_inpainting_with_parallel_decoding_network @be4e487, TensorFlow ("the code").

    image with holes, mask -> [encoder] -+---------------------------> [decoder] -> coarse image, in training only
                                         +-> [contextual attention] -> [decoder] -> image       (the same decoder, same weights)

Deviations and choices:
- `variant`. Where paper and code differ, "paper" follows the paper as the report repeats it, and "official" the code:
    attention    Euclidean distances between patches | squared ones
    output       the last convolution as it is       | clipped to [-1, 1], where the gradient ends
    RED's bias   added once to each region's score   | added in each of its 512 channels, so 512 times (a slip, it seems)
  Where the report is silent both are the code's: initialization, padding, the attention's lambda 50, loss weights 10, 0.1, 5.
- The network's input is the image in [-1, 1] with black holes (-1) and the mask three times, 1 = known: these 6 channels give
  the published counts. Losses compare images in [-1, 1] too, as their weights were chosen for that range.
- The input of RED is the composite; that of both L1 terms is the raw output, all pixels. The coarse path has no adversarial
  loss.
- The code divides by a standard deviation that may be 0, and its reflect padding needs maps larger than the padding: images of
  136 pixels or more. Here the deviation is clamped, and reflect padding repeats until it is wide enough: 24 pixels suffice.
  Smaller sides, and those that are no multiples of 8, are padded by replication.
- RED has weights for each of its regions, so it takes images of one size, `size`; the generator takes any.
- Learning rates are constant, as in the code; its restore point suggests a division by 10 for the last 100,000 iterations
  (`lr: {class_path: lit_inpaint.schedules.Steps, init_args: {start: 1.0e-4, milestones: [900000]}}`).
- Separable: every convolution of encoder, decoder and RED, none in the attention, which gives the report's counts. The report
  does not state what is between depthwise and pointwise convolution (nothing here), the padding (as for the dense ones) and
  which weights have spectral norm (both here; see `LargestKernelNorm`).
- Diet-PEPSI: there is no code, and the sources read do not state the shape of scale and shift, so `diet` chooses it. Of the
  3,656,947 parameters of PEPSI's generator, of which the paper saves "about 30 %", there remain
    "bias"     52 %  1,887,475  shared weights; each rate has its own bias only
    "channel"  52 %  1,889,523  a scale and a shift for each output channel
    "pair"     66 %  2,411,763  one for each pair of an input and an output channel: assumed to be the paper's
    "unit"     73 %  2,674,931  as "pair", and a 1x1 convolution with ELU after each
  Scales start at 1 and shifts at 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, elu, l1_loss, leaky_relu, normalize
from torch.nn.utils.parametrizations import spectral_norm

from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import hinge_fake, hinge_generator, hinge_real
from lit_inpaint.nets.contextual_attention import truncated_distance_attention
from lit_inpaint.nets.depthwise_separable_conv import DepthwiseSeparableConv2d, add_spectral_norm
from lit_inpaint.nets.padding import pad_same, reflect_pad
from lit_inpaint.schedules import Linear, Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite, empty_holes

Variant = Literal["paper", "official"]
Diet = Literal["bias", "channel", "pair", "unit"]

_STRIDE = 8  # of the feature map
_REGION = 64  # of RED: the stride of its scores


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms.

    Attributes:
        l1: mean absolute error of the image, over all pixels and channels in [-1, 1].
        coarse: the same of the coarse image; 5 (1 - k / k_max), where k counts iterations.
        adversarial: negated scores of the composite by RED.
        real: hinge loss of RED's scores of the target.
        fake: hinge loss of RED's scores of the composite.
    """

    l1: Value = 10.0
    coarse: Value = field(default_factory=lambda: Linear(5.0))
    adversarial: Value = 0.1
    real: Value = 1.0
    fake: Value = 1.0


# Generator ------------------------------------------------------------------------------------------------------------------


def convolution(c_in: int, c_out: int, kernel: int, stride: int, dilation: int, separable: bool) -> nn.Module:
    """A convolution without padding, dense or separable; weights Xavier uniform, biases 0."""
    if separable:
        return DepthwiseSeparableConv2d(c_in, c_out, kernel, stride, dilation=dilation)
    dense = nn.Conv2d(c_in, c_out, kernel, stride, dilation=dilation)
    nn.init.xavier_uniform_(dense.weight)
    assert dense.bias is not None
    nn.init.zeros_(dense.bias)
    return dense


class Convolution(nn.Module):
    """Reflect padding, convolution, ELU."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, dilation: int, separable: bool) -> None:
        super().__init__()
        self.padding = kernel // 2 * dilation
        self.convolution = convolution(c_in, c_out, kernel, stride, dilation, separable)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) to (B, c_out, H / stride, W / stride)."""
        return elu(self.convolution(reflect_pad(x, self.padding)), inplace=True)


class RateAdaptiveConvolution(nn.Module):
    """One rate of Diet-PEPSI: scale and shift of the shared weight, a bias, and in a "unit" a 1x1 convolution."""

    def __init__(self, width: int, dilation: int, diet: Diet) -> None:
        super().__init__()
        self.dilation = dilation
        self.bias = nn.Parameter(torch.zeros(width))
        shapes = {"channel": (width, 1, 1, 1), "pair": (width, width, 1, 1), "unit": (width, width, 1, 1)}
        self.scale = nn.Parameter(torch.ones(shapes[diet])) if diet in shapes else None
        self.shift = nn.Parameter(torch.zeros(shapes[diet])) if diet in shapes else None
        self.pointwise = Convolution(width, width, 1, 1, 1, separable=False) if diet == "unit" else nn.Identity()

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Map (B, C, H, W) and the shared weight (C, C, 3, 3) to (B, C, H, W)."""
        if self.scale is not None and self.shift is not None:
            weight = self.scale * weight + self.shift
        x = conv2d(reflect_pad(x, self.dilation), weight, self.bias, dilation=self.dilation)
        output: Tensor = self.pointwise(elu(x, inplace=True))
        return output


class DietConvolutions(nn.Module):
    """Dilated convolutions with one shared weight."""

    def __init__(self, width: int, dilations: tuple[int, ...], diet: Diet) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, width, 3, 3)))
        self.rates = nn.ModuleList(RateAdaptiveConvolution(width, dilation, diet) for dilation in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        for rate in self.rates:
            x = rate(x, self.weight)
        return x


class Encoder(nn.Sequential):
    """Six convolutions down to an eighth of the size, then dilated ones (table 1a)."""

    def __init__(self, width: int, dilations: tuple[int, ...], separable: bool, diet: Diet | None) -> None:
        w = width
        geometry = (
            (6, w, 5, 1),
            (w, 2 * w, 3, 2),
            (2 * w, 2 * w, 3, 1),
            (2 * w, 4 * w, 3, 2),
            (4 * w, 4 * w, 3, 1),
            (4 * w, 8 * w, 3, 2),
        )
        layers: list[nn.Module] = [Convolution(a, b, kernel, stride, 1, separable) for a, b, kernel, stride in geometry]
        if diet is None:
            layers += [Convolution(8 * w, 8 * w, 3, 1, dilation, separable) for dilation in dilations]
        else:
            layers.append(DietConvolutions(8 * w, dilations, diet))
        super().__init__(*layers)


class ContextualBlock(nn.Module):
    """Attention, then a 1x1 convolution of the concatenated features and attended features, and ELU."""

    def __init__(self, width: int, scale: float, squared: bool) -> None:
        super().__init__()
        self.scale = scale
        self.squared = squared
        self.fuse = Convolution(2 * width, width, 1, 1, 1, separable=False)

    def forward(self, features: Tensor, known: Tensor) -> Tensor:
        """Map features (B, C, h, w) and mask (B, 1, h, w), 1 = known, to (B, C, h, w)."""
        attended = truncated_distance_attention(features, known, self.scale, self.squared)
        fused: Tensor = self.fuse(torch.cat([features, attended.to(features.dtype)], dim=1))
        return fused


class Decoder(nn.Sequential):
    """Four pairs of convolutions with nearest-neighbor upsampling between them, and an output convolution (table 1b)."""

    def __init__(self, width: int, separable: bool) -> None:
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise((8 * width, 4 * width, 2 * width, width, width // 2)):
            layers += [Convolution(c_in, c_out, 3, 1, 1, separable), Convolution(c_out, c_out, 3, 1, 1, separable)]
            layers.append(nn.UpsamplingNearest2d(scale_factor=2))
        layers[-1] = nn.ZeroPad2d(1)  # the last pair already has the size of the image
        super().__init__(*layers, convolution(width // 2, 3, 3, 1, 1, separable))


class PEPSIGenerator(nn.Module):
    """Encoder, attention and the decoder of both paths.

    Args:
        width: channels of the first layer; the feature map has 8 times as many.
        dilations: of the last layers of the encoder.
        separable: depthwise-separable convolutions in encoder and decoder.
        diet: how the dilated convolutions share a weight; None: each has its own.
        attention_scale: lambda of the attention.
        variant: as in `PEPSI`.
    """

    def __init__(
        self,
        width: int,
        dilations: tuple[int, ...],
        separable: bool,
        diet: Diet | None,
        attention_scale: float,
        variant: Variant,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(width, dilations, separable, diet)
        self.attention = ContextualBlock(8 * width, attention_scale, squared=variant == "official")
        self.decoder = Decoder(width, separable)
        self.clip = variant == "official"

    def forward(self, image: Tensor, known: Tensor, coarse: bool) -> tuple[Tensor, ...]:
        """Map image (B, 3, H, W) in [-1, 1] and mask (B, 1, H, W), 1 = known, to the image and, if `coarse`, the coarse."""
        features = self.encoder(torch.cat([image, known.expand(-1, 3, -1, -1)], dim=1))
        attended = self.attention(features, known[..., ::_STRIDE, ::_STRIDE])
        # No layer of the decoder mixes samples, so one call computes both paths.
        decoded: Tensor = self.decoder(torch.cat([attended, features]) if coarse else attended)
        if self.clip:
            decoded = decoded.clamp(-1, 1)
        return decoded.chunk(2) if coarse else (decoded,)


# Discriminator --------------------------------------------------------------------------------------------------------------


class RegionHead(nn.Module):
    """A linear unit for each position of a feature map, its weights divided by their L2 norm.

    Args:
        regions: positions of the map.
        channels: of the map.
        bias_factor: multiplies the biases.
    """

    def __init__(self, regions: int, channels: int, bias_factor: int = 1) -> None:
        super().__init__()
        bound = (6 / (regions * (channels + 1))) ** 0.5  # Xavier, over all units at once as in the public code
        self.weight = nn.Parameter(torch.empty(regions, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(regions))
        self.bias_factor = bias_factor

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to scores (B, h w), row by row."""
        return torch.einsum("bcp,pc->bp", x.flatten(2), normalize(self.weight, dim=1)) + self.bias_factor * self.bias


class RegionEnsembleDiscriminator(nn.Module):
    """RED: six 5x5 convolutions of stride 2, then a linear unit for each position of the last map (table 1c).

    All weights have spectral norm; for a linear unit this is division by the L2 norm.

    Args:
        size: side of the images in pixels; 256 has 4 x 4 regions.
        width: channels after the first convolution.
        separable: depthwise-separable convolutions.
        bias_in_each_channel: add the bias of a linear unit once for each channel, as the public code does.
    """

    def __init__(self, size: int, width: int, separable: bool, bias_in_each_channel: bool) -> None:
        super().__init__()
        self.size = size
        self.side = -(-size // _REGION)
        widths = (3, width, 2 * width, 4 * width, 4 * width, 4 * width, 8 * width)
        self.convolutions = nn.ModuleList()
        for c_in, c_out in pairwise(widths):
            layer = convolution(c_in, c_out, 5, 2, 1, separable)
            self.convolutions.append(
                add_spectral_norm(layer) if isinstance(layer, DepthwiseSeparableConv2d) else spectral_norm(layer)
            )
        self.head = RegionHead(self.side**2, widths[-1], widths[-1] if bias_in_each_channel else 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 3, size, size) in [-1, 1] to scores (B, regions), row by row; positive = real.

        Raises:
            UserError: images of another size.
        """
        self.check_size(image)
        x = image
        for layer in self.convolutions:
            x = leaky_relu(layer(pad_same(x)), 0.2, inplace=True)
        scores: Tensor = self.head(x)
        return scores

    def check_size(self, image: Tensor) -> None:
        """Raise a `UserError` for images (B, 3, H, W) that have another number of regions."""
        height, width = image.shape[-2:]
        if (-(-height // _REGION), -(-width // _REGION)) != (self.side, self.side):
            raise UserError(
                f"PEPSI's discriminator has weights for each region of {self.size}x{self.size} images and cannot take "
                f"{height}x{width} ones; set --model.size {width} or --data.size {self.size}"
            )


# The paper ------------------------------------------------------------------------------------------------------------------


class PEPSI(Inpainter):
    """PEPSI, PEPSI with depthwise-separable convolutions, Diet-PEPSI.

    `Prediction.stages["coarse"]` is the image of the coarse path, which runs for the losses only.

    Args:
        separable: depthwise-separable convolutions in encoder, decoder and RED.
        diet: share one weight among the dilated convolutions; see the top of this file. None: PEPSI.
        variant: "paper" or "official" (public code); see the top of this file.
        size: side of the training images in pixels. Only RED depends on it: it has a score for each 64x64 pixels.
        width: channels of the first layer, even; the other widths of the generator are multiples of it.
        discriminator_width: channels of RED's first layer; the other widths are multiples of it.
        dilations: of the dilated convolutions.
        attention_scale: lambda, sharpness of the attention's softmax.
        weights: of the loss terms.
        generator_optimizer: Adam 1e-4, betas 0.5 and 0.9.
        discriminator_optimizer: Adam 4e-4, the same betas.
        stages: update order; here one stage in which RED steps first and the generator then learns from the updated RED.
        training: options of the engine.

    Raises:
        UserError: `separable` and `diet` at once: there is no dense weight to share.
    """

    discriminator: RegionEnsembleDiscriminator
    published_as: ClassVar[dict[str, dict[str, object]]] = {
        "PEPSI": {"width": 32, "separable": False, "diet": None},
        "PEPSI depthwise-separable": {"width": 32, "separable": True, "diet": None},
        "Diet-PEPSI": {"width": 32, "separable": False, "diet": "pair"},
    }

    def __init__(
        self,
        separable: bool = False,
        diet: Diet | None = None,
        variant: Variant = "paper",
        size: int = 256,
        width: int = 32,
        discriminator_width: int = 64,
        dilations: tuple[int, ...] = (2, 4, 8, 16),
        attention_scale: float = 50.0,
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=1e-4, betas=(0.5, 0.9)),
        discriminator_optimizer: OptimizerSettings = Adam(lr=4e-4, betas=(0.5, 0.9)),
        stages: tuple[Stage, ...] = (Stage("adversarial", update="alternating"),),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        if separable and diet is not None:
            raise UserError(f"PEPSI: diet={diet} shares dense weights, separable=True has none; choose one of them")
        self.generator = PEPSIGenerator(width, dilations, separable, diet, attention_scale, variant)
        self.discriminator = RegionEnsembleDiscriminator(size, discriminator_width, separable, variant == "official")

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, of any size, to the raw output."""
        height, width = image.shape[-2:]
        image, mask = pad_to_multiple(image, mask, _STRIDE, min_side=3 * _STRIDE)  # a 3x3 patch of features
        outputs = self.generator(
            _to_signed(empty_holes(image, mask)), 1 - mask, coarse=self.training or self.measures_validation_loss
        )
        completed, *coarse = ((crop(output, height, width) + 1) / 2 for output in outputs)
        return Prediction(completed, {"coarse": coarse[0]} if coarse else {})

    def training_forward(self, batch: Batch) -> Prediction:
        """Complete images of the size that the discriminator takes."""
        self.discriminator.check_size(batch["image"])
        return super().training_forward(batch)

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the L1 terms of both paths and the adversarial term."""
        target = _to_signed(batch["image"])
        return {
            "l1": l1_loss(_to_signed(prediction.image), target),
            "coarse": lambda: l1_loss(_to_signed(prediction.stages["coarse"]), target),
            "adversarial": lambda: hinge_generator(self._scores(_composite(batch, prediction))),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the hinge loss."""
        return {
            "real": hinge_real(self.record_logits("real", self._scores(batch["image"]))),
            "fake": hinge_fake(self.record_logits("fake", self._scores(_composite(batch, prediction)))),
        }

    def _scores(self, image: Tensor) -> Tensor:
        scores: Tensor = self.discriminator(_to_signed(image))
        return scores


def _to_signed(image: Tensor) -> Tensor:
    """Rescale from [0, 1] to [-1, 1]."""
    return 2 * image - 1


def _composite(batch: Batch, prediction: Prediction) -> Tensor:
    return composite(batch["image"], prediction.image, batch["mask"])
