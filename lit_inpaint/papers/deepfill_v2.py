"""DeepFill v2: Free-Form Image Inpainting with Gated Convolution.

Jiahui Yu, Zhe Lin, Jimei Yang, Xiaohui Shen, Xin Lu, Thomas Huang, ICCV 2019 (arXiv 1806.03589). Public code: JiahuiYu/
generative_inpainting v2.0.0 @3a53243, TensorFlow ("the code"). Ports to PyTorch: nipponjo/deepfillv2-pytorch @4899fd3, with
`networks.py` ("the port") and `networks_tf.py`, which takes the released weights of the code.

    image, 1, mask -> [coarse network] -> coarse image -> composite -+-> [dilated branch] ----+-> [decoder] -> image
                                                                     +-> [attention branch] --+

Every convolution but the last of each network is gated: one half of its channels, through ELU, times the sigmoid of the other.

Deviations and choices:
- `variant`:
    paper     the code's network: zero padding as TensorFlow's "SAME", nearest-neighbor subsampling with aligned corners
    official  the same, but in training the attention of all samples uses the first mask of a batch (the code has one mask per
              batch)
    port      as "official", with symmetric padding and plain subsampling: the port
    port_tf   as "official", without fusion of the attention's scores, and with the mask subsampled in one step instead of
              two: `networks_tf.py`, which takes the same weights as "official"
- Nearest-neighbor upsampling with aligned corners, which the code has, is no plain duplication of pixels. All variants
  duplicate, as both ports do.
- The code's second network takes the composite alone, without mask: its line with both is commented out. So here.
- Images are in [-1, 1] with holes of 0. The losses compare raw outputs in this range, over all pixels.
- The code reads BGR. `channels="bgr"` gives this order to both networks, as the released weights need it.
- Spectral norm: the gradient flows through sigma, as in the code. The port divides its stored weights at each call instead.
- Real and completed images are one batch of the discriminator, as in the code: one power iteration for both.
- `guidance` adds a channel of edges in the holes to the input of the coarse network and of the discriminator. Outside training
  it holds the user's sketch (`--edges`), or 0. The edges to train with are Canny's: weights of the paper's detector, HED, are
  not at hand. The code reads edges from files and thresholds them.
- Size and length: 256 pixels, batches of 16; the code trains until stopped.
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
from torch.nn.functional import elu, l1_loss, leaky_relu, relu
from torch.nn.utils.parametrizations import spectral_norm

from lit_inpaint.edges import CannyEdges
from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import hinge_fake, hinge_generator, hinge_real
from lit_inpaint.nets.contextual_attention import patch_attention, require_patch_grid, subsample_nearest
from lit_inpaint.nets.cpu.contiguous_halves import contiguous_halves
from lit_inpaint.nets.padding import PaddedConv2d, Padding
from lit_inpaint.nets.two_stage import TwoStageNetworks
from lit_inpaint.official_weights import deepfill as official_weights
from lit_inpaint.schedules import Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite

Variant = Literal["paper", "official", "port", "port_tf"]
Channels = Literal["rgb", "bgr"]

_STRIDE = 4  # of the feature map; the attention halves it once more


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms.

    Attributes:
        l1: mean absolute error of the image, over all pixels and channels in [-1, 1].
        coarse: the same of the coarse image.
        adversarial: negated scores of the composite by the discriminator.
        real: hinge loss of the scores of the target.
        fake: hinge loss of the scores of the composite.
    """

    l1: Value = 1.0
    coarse: Value = 1.0
    adversarial: Value = 1.0
    real: Value = 0.5
    fake: Value = 0.5


# Generator ------------------------------------------------------------------------------------------------------------------


class GatedConv(nn.Module):
    """A convolution to twice the channels, halved: ELU (or ReLU) of the first half times sigmoid of the second (eq. 2)."""

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
        self.conv = PaddedConv2d(c_in, 2 * c_out, kernel, stride, dilation, padding, upsample)
        self.rectify = rectify
        _init(self.conv.conv)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) to (B, c_out, H / stride, W / stride), with `upsample` (B, c_out, 2 H, 2 W)."""
        feature, gate = contiguous_halves(self.conv(x))
        gated: Tensor = (relu(feature) if self.rectify else elu(feature)) * gate.sigmoid()
        return gated


def _padding(variant: Variant) -> Padding:
    return "symmetric" if variant == "port" else "same"


def _init(conv: nn.Conv2d) -> None:
    """Initialize as TensorFlow's layers: weights Xavier uniform, biases 0."""
    nn.init.xavier_uniform_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)


def to_rgb(width: int, padding: Padding) -> nn.Sequential:
    """A plain convolution to RGB, then tanh."""
    layer = PaddedConv2d(width, 3, 3, padding=padding)
    _init(layer.conv)
    return nn.Sequential(layer, nn.Tanh())


class DeepFillV2Generator(TwoStageNetworks):
    """Coarse and refinement network (figure 3).

    Args:
        width: nominal channels of the first layer, of which gating leaves half; a multiple of 4.
        dilations: of the dilated convolutions of both networks.
        attention_scale: factor inside the attention's softmax.
        guidance: a channel of edges in the input.
        variant: as in `DeepFillV2`.
    """

    def __init__(
        self, width: int, dilations: tuple[int, ...], attention_scale: float, guidance: bool, variant: Variant
    ) -> None:
        padding = _padding(variant)
        gated, last = partial(GatedConv, padding=padding), partial(to_rgb, padding=padding)
        super().__init__(gated, last, width // 2, (6 if guidance else 5, 3), dilations)
        self.attention_scale = attention_scale
        self.variant = variant

    def forward(self, image: Tensor, mask: Tensor, edges: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Complete images; sides are multiples of 8.

        Args:
            image: (B, 3, H, W) in [-1, 1], holes 0.
            mask: (B, 1, H, W), 1 = hole.
            edges: (B, 1, H, W), 1 = edge, known pixels 0; None without guidance.

        Returns:
            Coarse and refined image, (B, 3, H, W) in [-1, 1].
        """
        guides = [] if edges is None else [edges]
        coarse = self.coarse(torch.cat([image, *guides, torch.ones_like(mask), mask], dim=1))
        completed = torch.where(mask > 0.5, coarse, image)
        features, hole = self.attention_branch(completed), self._attention_mask(mask)
        aligned, fuse = self.variant != "port", self.variant != "port_tf"
        attended = patch_attention(features, hole, self.attention_scale, fuse, aligned)
        attended = self.after_attention(attended.to(features.dtype))
        return coarse, self.decoder(torch.cat([self.dilated_branch(completed), attended], dim=1))

    def _attention_mask(self, mask: Tensor) -> Tensor:
        """Subsample the mask to half the size of the features."""
        mask = self.attention_masks(mask, shared=self.variant != "paper")
        if self.variant in ("port", "port_tf"):
            return subsample_nearest(mask, 2 * _STRIDE, self.variant == "port_tf")
        return subsample_nearest(subsample_nearest(mask, _STRIDE, True), 2, True)


# Discriminator --------------------------------------------------------------------------------------------------------------


class SNPatchGAN(nn.Module):
    """Six 5x5 convolutions of stride 2, each with spectral norm and LeakyReLU, the last one too (section 3.3).

    Args:
        width: channels of the first layer.
        guidance: a channel of edges in the input.
        variant: as in `DeepFillV2`.
    """

    def __init__(self, width: int, guidance: bool, variant: Variant) -> None:
        super().__init__()
        w = width
        widths = (5 if guidance else 4, w, 2 * w, 4 * w, 4 * w, 4 * w, 4 * w)
        self.layers = nn.ModuleList(PaddedConv2d(a, b, 5, 2, padding=_padding(variant)) for a, b in pairwise(widths))
        for layer in self.layers:
            assert isinstance(layer, PaddedConv2d)
            _init(layer.conv)
            spectral_norm(layer.conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map image, mask and, with guidance, edges (B, 4 or 5, H, W) to scores (B, 4 width, ceil(H / 64), ceil(W / 64))."""
        for layer in self.layers:
            x = leaky_relu(layer(x), 0.2)
        return x


# The paper ------------------------------------------------------------------------------------------------------------------


class DeepFillV2(Inpainter):
    """DeepFill v2.

    `Prediction.stages["coarse"]` is the image of the coarse network; with guidance, `stages["edges"]` are the edges it got.

    Args:
        variant: "paper", "official" (public code), "port" or "port_tf" (to PyTorch); see the top of this file.
        channels: order in which the networks get the channels; "bgr" for the released weights of the public code.
        guidance: a channel of edges in the holes, such as a user's sketch; see the top of this file.
        canny_sigma: standard deviation of the Gaussian filter of the edges to train with, in pixels; with guidance only.
        width: nominal channels of the first layer, a multiple of 4; the other widths are multiples of it.
        discriminator_width: channels of the discriminator's first layer.
        dilations: of the dilated convolutions.
        attention_scale: factor inside the attention's softmax.
        weights: of the loss terms.
        generator_optimizer: Adam 1e-4, betas 0.5 and 0.999.
        discriminator_optimizer: the same.
        stages: update order; here one stage in which the discriminator steps first.
        training: options of the engine.

    Raises:
        UserError: `width` is no multiple of 4.
    """

    generator: DeepFillV2Generator
    discriminator: SNPatchGAN
    multiple: ClassVar[int] = 8
    published_as: ClassVar[dict[str, dict[str, object]]] = {"DeepFillv2": {"width": 48, "guidance": False}}
    published_in: ClassVar[str | None] = "deepgin"
    edges_input: ClassVar[str] = "edges to draw in the holes, 0 = none; ignored elsewhere"

    def __init__(
        self,
        variant: Variant = "paper",
        channels: Channels = "rgb",
        guidance: bool = False,
        canny_sigma: float = 2.0,
        width: int = 48,
        discriminator_width: int = 64,
        dilations: tuple[int, ...] = (2, 4, 8, 16),
        attention_scale: float = 10.0,
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=1e-4, betas=(0.5, 0.999)),
        discriminator_optimizer: OptimizerSettings = Adam(lr=1e-4, betas=(0.5, 0.999)),
        stages: tuple[Stage, ...] = (Stage("adversarial", update="alternating"),),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        if width % 4 or width < 4:
            raise UserError(f"DeepFillV2: width={width}; gating and the last layer halve it, so give a multiple of 4")
        self.variant = variant
        self.channels = channels
        self.edge_detector = CannyEdges(canny_sigma) if guidance else None
        self.generator = DeepFillV2Generator(width, dilations, attention_scale, guidance, variant)
        self.discriminator = SNPatchGAN(discriminator_width, guidance, variant)

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the raw output; sides from 24 pixels."""
        return self._predict_guided(image, mask, None if self.edge_detector is None else torch.zeros_like(mask))

    def training_forward(self, batch: Batch) -> Prediction:
        """Complete a batch, with guidance by the edges of the complete images."""
        if self.edge_detector is None:
            return self._predict_guided(batch["image"], batch["mask"], None)
        edges = batch["edges"] if "edges" in batch else self.edge_detector(batch["image"])
        return self._predict_guided(batch["image"], batch["mask"], edges)

    def predict_with_edges(self, image: Tensor, mask: Tensor, edges: Tensor) -> Tensor:
        """Return the raw output for images of any size, with the user's `edges` (B, 1, H, W) in the holes.

        Raises:
            UserError: the network has no guidance.
        """
        self.require_edges()
        return self._predict_guided(image, mask, edges).image

    def require_edges(self) -> None:
        """Raise a `UserError` if the network has no guidance."""
        if self.edge_detector is None:
            raise UserError("this DeepFillV2 takes no edges; leave them out, or train with --model.guidance true")

    def _predict_guided(self, image: Tensor, mask: Tensor, edges: Tensor | None) -> Prediction:
        height, width = image.shape[-2:]
        require_patch_grid(height, width, 2 * _STRIDE)
        guide = None if edges is None else edges * mask
        padded_guide = None if guide is None else pad_to_multiple(guide, mask, self.multiple)[0]
        image, mask = pad_to_multiple(image, mask, self.multiple)
        coarse, refined = self.generator(self._signed(image) * (1 - mask), mask, padded_guide)
        coarse, refined = (self._unsigned(crop(output, height, width)) for output in (coarse, refined))
        return Prediction(refined, {"coarse": coarse} if guide is None else {"coarse": coarse, "edges": guide})

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the L1 terms of both networks and the adversarial term."""
        target = batch["image"]
        return {
            "l1": 2 * l1_loss(prediction.image, target),  # of [-1, 1]
            "coarse": 2 * l1_loss(prediction.stages["coarse"], target),
            "adversarial": lambda: hinge_generator(self._scores(_composite(batch, prediction), *_guides(batch, prediction))),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the hinge loss; real and completed images are one batch of the discriminator."""
        images = torch.cat([batch["image"], _composite(batch, prediction)])
        guides = (torch.cat([guide, guide]) for guide in _guides(batch, prediction))
        real, fake = self._scores(images, *guides).chunk(2)
        return {
            "real": hinge_real(self.record_logits("real", real)),
            "fake": hinge_fake(self.record_logits("fake", fake)),
        }

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> list[str]:
        """Load weights of nipponjo's `networks_tf.py`, or with `variant="port"` of `networks.py`.

        The former are also the names of the code's converted weights; these need `channels="bgr"`.
        """
        dropped = official_weights.load_v2(self.generator, generator, self.discriminator, discriminator, self.variant)
        rank_zero_info(f"Loaded nipponjo's weights of the generator{'' if discriminator is None else ' and discriminator'}")
        return dropped

    def _scores(self, image: Tensor, *guides: Tensor) -> Tensor:
        scores: Tensor = self.discriminator(torch.cat([self._signed(image), *guides], dim=1))
        return scores

    def _signed(self, image: Tensor) -> Tensor:
        """Rescale from [0, 1] to [-1, 1], in the networks' order of channels."""
        return 2 * (image.flip(1) if self.channels == "bgr" else image) - 1

    def _unsigned(self, image: Tensor) -> Tensor:
        """Rescale from [-1, 1] to [0, 1], to RGB."""
        return ((image.flip(1) if self.channels == "bgr" else image) + 1) / 2


def _guides(batch: Batch, prediction: Prediction) -> list[Tensor]:
    """Return what the discriminator gets beside images: the mask and any edges."""
    return [batch["mask"], *(image for name, image in prediction.stages.items() if name == "edges")]


def _composite(batch: Batch, prediction: Prediction) -> Tensor:
    return composite(batch["image"], prediction.image, batch["mask"])
