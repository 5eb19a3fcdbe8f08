"""DeepFill v1: Generative Image Inpainting with Contextual Attention.

Jiahui Yu, Zhe Lin, Jimei Yang, Xiaohui Shen, Xin Lu, Thomas Huang, CVPR 2018 (arXiv 1801.07892); "CA" in tables of others.
Public code: JiahuiYu/generative_inpainting, branch v1.0.0, TensorFlow ("the code"). Port to PyTorch: daa233/
generative-inpainting-pytorch @c6cdaea ("the port").

    image, 1, mask -> [coarse network] -> coarse image -> composite, 1, mask -+-> [dilated branch] ----+-> [decoder] -> image
                                                                              +-> [attention branch] --+

Deviations and choices:
- `variant`. The paper's statements on padding and gamma are quoted from memory of it.
                             paper                       official (the code)         port
    padding                  reflection                  zeros, TensorFlow's "SAME"  zeros, symmetric
    nearest subsampling      aligned corners             aligned corners             plain
    attention's mask         of each sample              of the batch's first sample of the batch's first sample
    norm of patches          at least 1e-4               at least 1e-4               1e-4 added to each square
    local critic's widths    64, 128, 256, 512           64, 128, 256, 512           64, 128, 256, 256
    gamma of the discount    0.99                        0.9                         0.9
  That is in training only: outside it, each sample has its own mask in every variant.
  Losses are the code's in all three. The port's L1 is of composites, its AE term not divided by the known fraction, its
  gradient penalty not masked.
- Nearest-neighbor upsampling with aligned corners, which the code has, is no plain duplication of pixels. All variants
  duplicate, as the port does.
- The critic's box: the code draws a box of 128x128 and shrinks it to the hole, one of both per batch. Here the box of each
  sample is centered on the bounding box of its hole, which is the same place. Holes larger than the box leave its sides.
- The discount is a function of the position in the box; its two sides differ by a pixel, as in the code.
- Five updates of the critics for each of the generator, on new batches: `generator_every: 5`, so one batch in five trains both.
  `{update: alternating, d_steps: 5}` is five updates on one batch instead.
- Images are in [-1, 1] with holes of 0; the losses compare raw outputs in this range, the critics get composites.
- The code reads BGR. `channels="bgr"` gives this order to the network, as the released weights need it.
- Parameters: 3,601,542 of both networks, 3.43 x 2^20. LPI-Net's table 3 prints 2.9 x 2^20 (x2), one for each network, beside
  a file of 13.8 MB: 4 bytes for each of 3.6 M parameters. So the file holds both networks, and the count is of neither: they
  have 1,448,227 and 2,153,315.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu, relu

from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import wasserstein_fake, wasserstein_generator, wasserstein_real
from lit_inpaint.losses.gradient_penalty import gradient_penalty
from lit_inpaint.nets.contextual_attention import patch_attention, require_patch_grid, subsample_nearest
from lit_inpaint.nets.hole_crops import crop_windows, windows_around_holes
from lit_inpaint.nets.padding import PaddedConv2d, Padding
from lit_inpaint.nets.two_stage import TwoStageNetworks
from lit_inpaint.official_weights import deepfill as official_weights
from lit_inpaint.schedules import Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite

Variant = Literal["paper", "official", "port"]
Channels = Literal["rgb", "bgr"]

_STRIDE = 4  # of the feature map; the attention halves it once more
_PADDING: dict[Variant, Padding] = {"paper": "reflect", "official": "same", "port": "symmetric"}
_GAMMA: dict[Variant, float] = {"paper": 0.99, "official": 0.9, "port": 0.9}


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms; the code weighs both L1 and both AE terms 1.2, and the coarse ones 1.2 times more.

    Attributes:
        l1: discounted mean absolute error of the image within the box, in [-1, 1].
        coarse_l1: the same of the coarse image.
        ae: mean absolute error of the image over known pixels.
        coarse_ae: the same of the coarse image.
        adversarial: negated scores of the composite and of its box, added.
        real: negated scores of the target and of its box, added.
        fake: scores of the composite and of its box, added.
        gradient_penalty: of both critics, with gradients in the hole only, added.
    """

    l1: Value = 1.2
    coarse_l1: Value = 1.44
    ae: Value = 1.2
    coarse_ae: Value = 1.44
    adversarial: Value = 0.001
    real: Value = 1.0
    fake: Value = 1.0
    gradient_penalty: Value = 10.0


# Generator ------------------------------------------------------------------------------------------------------------------


class Convolution(nn.Module):
    """A convolution and ELU, or ReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int,
        dilation: int,
        padding: Padding,
        rectify: bool = False,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.conv = PaddedConv2d(c_in, c_out, kernel, stride, dilation, padding, upsample)
        self.rectify = rectify
        _init(self.conv.conv)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) to (B, c_out, H / stride, W / stride), with `upsample` (B, c_out, 2 H, 2 W)."""
        x = self.conv(x)
        return relu(x) if self.rectify else elu(x, inplace=True)


def _init(layer: nn.Conv2d | nn.Linear) -> None:
    """Initialize as TensorFlow's layers: weights Xavier uniform, biases 0."""
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def to_rgb(width: int, padding: Padding) -> nn.Sequential:
    """A convolution to RGB, clipped to [-1, 1], where the gradient ends."""
    layer = PaddedConv2d(width, 3, 3, padding=padding)
    _init(layer.conv)
    return nn.Sequential(layer, nn.Hardtanh())


class DeepFillV1Generator(TwoStageNetworks):
    """Coarse and refinement network (figures 2 and 4).

    Args:
        width: channels of the first layer, even.
        dilations: of the dilated convolutions of both networks.
        attention_scale: factor inside the attention's softmax.
        variant: as in `DeepFillV1`.
    """

    def __init__(self, width: int, dilations: tuple[int, ...], attention_scale: float, variant: Variant) -> None:
        padding = _PADDING[variant]
        layer = partial(Convolution, padding=padding)
        super().__init__(layer, partial(to_rgb, padding=padding), width, (5, 5), dilations)
        self.attention_scale = attention_scale
        self.variant = variant

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Complete images; sides are multiples of 8.

        Args:
            image: (B, 3, H, W) in [-1, 1], holes 0.
            mask: (B, 1, H, W), 1 = hole.

        Returns:
            Coarse and refined image, (B, 3, H, W) in [-1, 1].
        """
        ones = torch.ones_like(mask)
        coarse = self.coarse(torch.cat([image, ones, mask], dim=1))
        completed = torch.cat([torch.where(mask > 0.5, coarse, image), ones, mask], dim=1)
        features, hole = self.attention_branch(completed), self._attention_mask(mask)
        port = self.variant == "port"
        attended = patch_attention(features, hole, self.attention_scale, align_corners=not port, add_epsilon=port)
        attended = self.after_attention(attended.to(features.dtype))
        return coarse, self.decoder(torch.cat([self.dilated_branch(completed), attended], dim=1))

    def _attention_mask(self, mask: Tensor) -> Tensor:
        """Subsample the mask to half the size of the features."""
        mask = self.attention_masks(mask, shared=self.variant != "paper")
        aligned = self.variant != "port"
        return subsample_nearest(subsample_nearest(mask, _STRIDE, aligned), 2, aligned)


# Critics --------------------------------------------------------------------------------------------------------------------


class Critic(nn.Module):
    """Four 5x5 convolutions of stride 2 with LeakyReLU, and a linear unit over the whole map.

    Args:
        size: side of the images in pixels.
        widths: channels after each convolution.
        padding: of the convolutions.
    """

    def __init__(self, size: int, widths: tuple[int, ...], padding: Padding) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PaddedConv2d(a, b, 5, 2, padding=padding) for a, b in pairwise((3, *widths)))
        for layer in self.layers:
            assert isinstance(layer, PaddedConv2d)
            _init(layer.conv)
        side = -(-size // 2 ** len(widths))
        self.to_score = nn.Linear(widths[-1] * side**2, 1)
        _init(self.to_score)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, size, size) in [-1, 1] to scores (B, 1)."""
        for layer in self.layers:
            x = leaky_relu(layer(x), 0.2)
        score: Tensor = self.to_score(x.flatten(1))
        return score


class Critics(nn.Module):
    """The critics of whole images and of boxes, without weights in common (section 3.3).

    Args:
        size: side of the images in pixels.
        local_size: side of the boxes in pixels.
        width: channels of the first layers.
        variant: as in `DeepFillV1`.
    """

    def __init__(self, size: int, local_size: int, width: int, variant: Variant) -> None:
        super().__init__()
        w, port = width, variant == "port"
        padding: Padding = "symmetric" if port else "same"
        self.of_image = Critic(size, (w, 2 * w, 4 * w, 4 * w), padding)
        self.of_box = Critic(local_size, (w, 2 * w, 4 * w, 4 * w if port else 8 * w), padding)

    def forward(self, image: Tensor, box: Tensor) -> list[Tensor]:
        """Map images (B, 3, size, size) and boxes (B, 3, local_size, local_size) in [-1, 1] to a score (B, 1) of each."""
        return [self.of_image(image), self.of_box(box)]


# Losses ---------------------------------------------------------------------------------------------------------------------


def discount_weights(side: int, gamma: float) -> Tensor:
    """Compute gamma^d for each pixel of a box, d its distance to the nearest side (section 3.2).

    The distance of row i is min(i, side - i), as in the code: 0 for the first row, 1 for the last.

    Returns:
        (side, side) in (0, 1].
    """
    position = torch.arange(side)
    weights = gamma ** torch.minimum(position, side - position).float()
    return torch.maximum(weights[:, None], weights)


def known_l1(difference: Tensor, mask: Tensor) -> Tensor:
    """Average absolute differences over the known pixels of each sample, then over samples.

    The code has one mask per batch, for which this equals its mean over all pixels divided by the known fraction.

    Args:
        difference: (B, C, H, W), output minus target.
        mask: (B, 1, H, W), 1 = hole; a sample without known pixels has the loss 0.

    Returns:
        Scalar.
    """
    known = 1 - mask
    fraction = known.mean(dim=(1, 2, 3)).clamp_min(1 / known[0].numel())
    return ((difference * known).abs().mean(dim=(1, 2, 3)) / fraction).mean()


# The paper ------------------------------------------------------------------------------------------------------------------


class DeepFillV1(Inpainter):
    """DeepFill v1.

    `Prediction.stages["coarse"]` is the image of the coarse network.

    Args:
        variant: "paper", "official" (public code) or "port" (to PyTorch); see the top of this file.
        channels: order in which the networks get the channels; "bgr" for the released weights of the public code.
        size: side of the training images in pixels. Only the critics depend on it; the generator takes any size.
        local_size: side of the boxes around the holes.
        width: channels of the first layer, even; the other widths are multiples of it.
        discriminator_width: channels of the critics' first layers.
        dilations: of the dilated convolutions.
        attention_scale: factor inside the attention's softmax.
        gamma: of the spatial discount; None: the variant's.
        weights: of the loss terms.
        generator_optimizer: Adam 1e-4, betas 0.5 and 0.9.
        discriminator_optimizer: the same.
        stages: update order; here the critics step on each batch, the generator on every fifth.
        training: options of the engine.

    Raises:
        UserError: `width` is odd, or the boxes are larger than the images.
    """

    generator: DeepFillV1Generator
    discriminator: Critics
    compiled_modules: ClassVar[tuple[str, ...]] = ("generator",)  # the gradient penalty differentiates critics twice
    multiple: ClassVar[int] = 8
    published_as: ClassVar[dict[str, dict[str, object]]] = {"CA": {"width": 32}}
    published_in: ClassVar[str | None] = "lpi_net"

    def __init__(
        self,
        variant: Variant = "paper",
        channels: Channels = "rgb",
        size: int = 256,
        local_size: int = 128,
        width: int = 32,
        discriminator_width: int = 64,
        dilations: tuple[int, ...] = (2, 4, 8, 16),
        attention_scale: float = 10.0,
        gamma: float | None = None,
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=1e-4, betas=(0.5, 0.9)),
        discriminator_optimizer: OptimizerSettings = Adam(lr=1e-4, betas=(0.5, 0.9)),
        stages: tuple[Stage, ...] = (Stage("adversarial", update="alternating", generator_every=5),),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        if width % 2 or width < 2:
            raise UserError(f"DeepFillV1: width={width}; the last layer halves it, so give an even number")
        if local_size > size:
            raise UserError(
                f"DeepFillV1: boxes of {local_size} pixels do not fit into images of {size}; set --model.local_size {size // 2}"
            )
        self.variant = variant
        self.channels = channels
        self.size = size
        self.local_size = local_size
        self.generator = DeepFillV1Generator(width, dilations, attention_scale, variant)
        self.discriminator = Critics(size, local_size, discriminator_width, variant)
        discount = discount_weights(local_size, _GAMMA[variant] if gamma is None else gamma)
        self.register_buffer("discount", discount, persistent=False)
        self.discount: Tensor

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the raw output; sides from 24 pixels."""
        height, width = image.shape[-2:]
        require_patch_grid(height, width, 2 * _STRIDE)
        image, mask = pad_to_multiple(image, mask, self.multiple)
        coarse, refined = self.generator(self._signed(image) * (1 - mask), mask)
        coarse, refined = (self._unsigned(crop(output, height, width)) for output in (coarse, refined))
        return Prediction(refined, {"coarse": coarse})

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the discounted L1 and the AE terms of both networks, and the adversarial term."""
        windows = self._windows(batch)
        differences = [2 * (image - batch["image"]) for image in (prediction.image, prediction.stages["coarse"])]  # of [-1, 1]
        l1, coarse_l1 = ((self._box(x, windows).abs() * self.discount).mean() for x in differences)
        ae, coarse_ae = (known_l1(x, batch["mask"]) for x in differences)
        return {
            "l1": l1,
            "coarse_l1": coarse_l1,
            "ae": ae,
            "coarse_ae": coarse_ae,
            "adversarial": lambda: wasserstein_generator(self._scores(self._completed(batch, prediction), windows)),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the Wasserstein losses of both critics and their gradient penalties."""
        windows = self._windows(batch)
        real, fake = self._signed(batch["image"]), self._completed(batch, prediction)
        hole, critics = self._box(batch["mask"], windows), self.discriminator
        real_box, fake_box = self._box(real, windows), self._box(fake, windows)
        return {
            "real": wasserstein_real(self.record_logits("real", self._scores(real, windows))),
            "fake": wasserstein_fake(self.record_logits("fake", self._scores(fake, windows))),
            "gradient_penalty": lambda: (
                gradient_penalty(critics.of_image, real, fake, batch["mask"])
                + gradient_penalty(critics.of_box, real_box, fake_box, hole)
            ),
        }

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> list[str]:
        """Load weights of daa233's `Generator`, and of `LocalDis` and `GlobalDis` with names that begin localD. and globalD.

        The code's weights under the same names need `variant="official"` and `channels="bgr"`, the port's own `variant="port"`.
        """
        official_weights.load_v1(self.generator, generator, self.discriminator, discriminator, self.variant)
        rank_zero_info(f"Loaded daa233's weights of the generator{'' if discriminator is None else ' and both critics'}")
        return []

    def training_forward(self, batch: Batch) -> Prediction:
        """Complete images of the size that the critics take."""
        self._check_size(batch["image"])
        return super().training_forward(batch)

    def _check_size(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        if (height, width) != (self.size, self.size):
            raise UserError(
                f"DeepFillV1's critics take {self.size}x{self.size} images, and these are {height}x{width}; set --data.size "
                f"{self.size}, or --model.size {width} --model.local_size {width // 2}"
            )

    def _windows(self, batch: Batch) -> Tensor:
        self._check_size(batch["image"])
        return windows_around_holes(batch["mask"], self.local_size)

    def _box(self, x: Tensor, windows: Tensor) -> Tensor:
        return crop_windows(x, windows, self.local_size)

    def _scores(self, image: Tensor, windows: Tensor) -> list[Tensor]:
        scores: list[Tensor] = self.discriminator(image, self._box(image, windows))
        return scores

    def _completed(self, batch: Batch, prediction: Prediction) -> Tensor:
        return self._signed(composite(batch["image"], prediction.image, batch["mask"]))

    def _signed(self, image: Tensor) -> Tensor:
        """Rescale from [0, 1] to [-1, 1], in the networks' order of channels."""
        return 2 * (image.flip(1) if self.channels == "bgr" else image) - 1

    def _unsigned(self, image: Tensor) -> Tensor:
        """Rescale from [-1, 1] to [0, 1], to RGB."""
        return ((image.flip(1) if self.channels == "bgr" else image) + 1) / 2
