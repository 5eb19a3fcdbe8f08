"""EdgeConnect: Generative Image Inpainting with Adversarial Edge Learning.

Kamyar Nazeri, Eric Ng, Tony Joseph, Faisal Z. Qureshi, Mehran Ebrahimi (University of Ontario Institute of Technology), ICCV
Workshops 2019, arXiv 1901.00212. Public code: knazeri/edge-connect @3142579, "the code" below.

    gray image, known edges, mask -> [edge generator] -> predicted edges --+ in the holes, Canny's elsewhere
                                                                           v
                                     image, white in the holes, and edge map -> [inpainting generator] -> output

    both    7x7 64 /1 -> 4x4 128 /2 -> 4x4 256 /4 -> 8 residual blocks, dilation 2 -> 4x4 128 /2 -> 4x4 64 /1 -> 7x7 1 or 3

Deviations and choices:
- The text of the paper was not at hand: networks, inputs and losses are the code's, with the loss weights of its example
  configuration (style 250, perceptual 0.1, adversarial 0.1). The defaults inside the code are 1, 1 and 0.01.
- The four stages are one run, each a `mode` of a `Stage`. Lengths are the code's limit of 2,000,000 batches, as it leaves the
  end of a stage to the user. The last stage trains at 1e-6, the paper's last rate; the code has one rate for all.
- The code steps D before it differentiates the generator's loss through D's old weights, an error in PyTorch today. In the
  last stage it differentiates a freed graph. Here one backward pass computes all gradients from the old weights.
- The networks that a stage does not train are frozen in evaluation mode; in the code their spectral norm runs on.
- `variant` chooses the edge map outside training: "paper" composites predicted and known edges, as all training does;
  "official" takes the whole output of the edge generator, as the code's `test` does.
- Training detects edges in the complete image. Outside training, holes are masked: their borders give no edges.
- VGG-19 gets images on the [0, 1] scale without ImageNet normalization, as in the code.
- The adversarial loss "lsgan" is the code's: on probabilities, where Mao et al. have none.
- D's features of real images for feature matching come from a forward pass of their own. The code uses those of D's loss, one
  power iteration of spectral norm earlier.
- The L1 loss is divided by the mean of the masks of a batch; with accumulation, of a micro-batch; with several processes, of
  the samples of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar, Literal, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.nn.utils.parametrizations import spectral_norm

from lit_inpaint.edges import CannyEdges, CannyLibrary, to_gray
from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.adversarial import (
    bce_fake,
    bce_real,
    hinge_fake,
    hinge_generator,
    hinge_real,
    least_squares_fake,
    least_squares_generator,
    least_squares_real,
    non_saturating_generator,
)
from lit_inpaint.losses.perceptual import perceptual_loss
from lit_inpaint.losses.style import style_loss
from lit_inpaint.losses.vgg_features import VGGFeatures, VGGWeights
from lit_inpaint.nets.patch_discriminator import PatchDiscriminator
from lit_inpaint.official_weights import edgeconnect as official_weights
from lit_inpaint.schedules import Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite

Variant = Literal["paper", "official"]
GAN = Literal["nsgan", "lsgan", "hinge"]

_PERCEPTUAL_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_STYLE_LAYERS = ("relu2_2", "relu3_4", "relu4_4", "relu5_2")
_MIN_SIDE = 12  # reflection by 2 needs 3 pixels at a quarter of the size
_MIN_TRAINING_SIDE = 24  # of the discriminators


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms (the code's config.yml.example).

    Attributes:
        edge_adversarial: the edge generator's adversarial loss.
        feature_matching: L1 distance of the edge discriminator's activations, five layers added.
        l1: absolute error of all pixels, divided by the mean of the masks.
        adversarial: the inpainting generator's adversarial loss, of the raw output.
        perceptual: L1 distance of VGG-19 features of the raw output, five layers added.
        style: L1 distance of Gram matrices of the holes, four layers added.
        edge_real: the edge discriminator's loss of Canny's edges.
        edge_fake: the edge discriminator's loss of predicted edges.
        real: the inpainting discriminator's loss of images.
        fake: the inpainting discriminator's loss of raw outputs.
    """

    edge_adversarial: Value = 1.0
    feature_matching: Value = 10.0
    l1: Value = 1.0
    adversarial: Value = 0.1
    perceptual: Value = 0.1
    style: Value = 250.0
    edge_real: Value = 0.5
    edge_fake: Value = 0.5
    real: Value = 0.5
    fake: Value = 0.5


# Networks -------------------------------------------------------------------------------------------------------------------


def norm_relu(layer: nn.Module) -> nn.Sequential:
    """A layer, instance norm without parameters, and ReLU."""
    width = layer.out_channels
    assert isinstance(width, int)
    return nn.Sequential(layer, nn.InstanceNorm2d(width), nn.ReLU(inplace=True))


class ResBlock(nn.Module):
    """The input plus two 3x3 convolutions with instance norm, the first dilated by 2; no activation after the sum."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        dilated = nn.Conv2d(width, width, 3, padding=2, dilation=2, bias=bias, padding_mode="reflect")
        plain = nn.Conv2d(width, width, 3, padding=1, bias=bias, padding_mode="reflect")
        self.branch = nn.Sequential(*norm_relu(dilated), plain, nn.InstanceNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        branch: Tensor = self.branch(x)
        return x + branch


class Generator(nn.Module):
    """Downsample by 4, eight residual blocks, upsample by 4; without the output's activation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        width: channels of the first layer.
        normalize_weights: use spectral norm in all layers but the last, and no biases in residual blocks (the edge generator).
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, normalize_weights: bool) -> None:
        super().__init__()
        w = width
        self.encoder = nn.Sequential(
            norm_relu(nn.Conv2d(in_channels, w, 7, padding=3, padding_mode="reflect")),
            norm_relu(nn.Conv2d(w, 2 * w, 4, stride=2, padding=1)),
            norm_relu(nn.Conv2d(2 * w, 4 * w, 4, stride=2, padding=1)),
        )
        self.middle = nn.Sequential(*(ResBlock(4 * w, bias=not normalize_weights) for _ in range(8)))
        self.decoder = nn.Sequential(
            norm_relu(nn.ConvTranspose2d(4 * w, 2 * w, 4, stride=2, padding=1)),
            norm_relu(nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1)),
            nn.Conv2d(w, out_channels, 7, padding=3, padding_mode="reflect"),
        )
        layers = [module for module in self.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
        for layer in layers:
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for layer in layers[:-1] if normalize_weights else ():
            spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W), sides multiples of 4, to (B, out_channels, H, W)."""
        output: Tensor = self.decoder(self.middle(self.encoder(x)))
        return output


class EdgeConnectGenerator(nn.Module):
    """The edge generator and the inpainting generator; `width` is of the first layer of each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.edge = Generator(3, 1, width, normalize_weights=True)
        self.inpaint = Generator(4, 3, width, normalize_weights=False)

    def forward(self, image: Tensor, mask: Tensor, edges: Tensor, mode: str | None = None) -> Prediction:
        """Predict edges, or the image from edges, or both.

        Args:
            image: (B, 3, H, W) in [0, 1]; what its holes hold is ignored.
            mask: (B, 1, H, W), 1 = hole.
            edges: (B, 1, H, W), 1 = edge; in the holes only "true_edges" reads them.
            mode: of `EdgeConnect.modes`; "raw_edges" is the code's test; None is "joint".

        Returns:
            The image, in mode "edge" the emptied input. Stages: the "edges" that the inpainting generator gets, and the
            "predicted_edges", except in mode "true_edges".
        """
        image = torch.where(mask > 0.5, 1.0, image)
        if mode == "true_edges":
            return Prediction(self._complete(image, edges), {"edges": edges})
        with torch.set_grad_enabled(torch.is_grad_enabled() and mode != "predicted_edges"):
            gray = torch.where(mask > 0.5, 1.0, to_gray(image))
            predicted = self.edge(torch.cat([gray, edges * (1 - mask), mask], dim=1)).sigmoid()
        edge_map = predicted if mode == "raw_edges" else composite(edges, predicted, mask)
        output = image if mode == "edge" else self._complete(image, edge_map)
        return Prediction(output, {"predicted_edges": predicted, "edges": edge_map})

    def _complete(self, image: Tensor, edges: Tensor) -> Tensor:
        output: Tensor = self.inpaint(torch.cat([image, edges.to(image)], dim=1))
        return (output.tanh() + 1) / 2


class EdgeConnectDiscriminator(nn.Module):
    """The edge discriminator (gray image and edge map) and the inpainting discriminator (image).

    Args:
        width: channels of the first layer of each.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 8 * width)
        self.edge = PatchDiscriminator(2, widths)
        self.inpaint = PatchDiscriminator(3, widths)


# The paper ------------------------------------------------------------------------------------------------------------------

_INPAINT, _EDGE = ("generator.inpaint", "discriminator.inpaint"), ("generator.edge", "discriminator.edge")
STAGES = (
    Stage("edge", mode="edge", iterations=2_000_000, frozen=_INPAINT),
    Stage("true edges", mode="true_edges", iterations=2_000_000, frozen=_EDGE),
    Stage("predicted edges", mode="predicted_edges", iterations=2_000_000, frozen=_EDGE),
    Stage(
        "joint",
        mode="joint",
        iterations=2_000_000,
        generator_optimizer=Adam(lr=1e-6, betas=(0.0, 0.9)),
        discriminator_optimizer=Adam(lr=1e-7, betas=(0.0, 0.9)),
    ),
)


class EdgeConnect(Inpainter):
    """EdgeConnect.

    Args:
        width: channels of the first layer of both generators.
        discriminator_width: the same of both discriminators.
        variant: edge map outside training; see the top of this file.
        gan: adversarial losses of both models: "nsgan" (the code's default), "lsgan" or "hinge".
        canny_sigma: standard deviation of Canny's Gaussian filter, in pixels.
        canny_library: "scikit-image", or "kornia", which runs on GPUs but finds other edges; see `lit_inpaint.edges`.
        vgg: weights of the VGG-19 in the perceptual and style losses: ImageNet's, or random ones from a fixed seed. VGG is not
            created if both losses have weight 0 in all stages.
        weights: of the loss terms.
        generator_optimizer: Adam 1e-4, betas 0 and 0.9.
        discriminator_optimizer: Adam 1e-5, a tenth of the generators' rate, the same betas.
        stages: edge model; inpainting model with Canny's edges, then with predicted edges; both models jointly.
        training: options of the engine.

    Raises:
        UserError: widths below 1, or `canny_sigma` is not above 0.
    """

    generator: EdgeConnectGenerator
    discriminator: EdgeConnectDiscriminator
    edge_detector: CannyEdges
    compiled_modules: ClassVar[tuple[str, ...]] = ("generator", "discriminator.edge", "discriminator.inpaint")
    multiple: ClassVar[int] = 4
    modes: ClassVar[tuple[str, ...]] = ("edge", "true_edges", "predicted_edges", "joint")
    published_in: ClassVar[str | None] = "lpi_net"
    edges_input: ClassVar[str] = (
        "Canny's edges of the known pixels (thresholds 0.1 and 0.2 of the gray image); ignored in holes"
    )
    published_as: ClassVar[dict[str, dict[str, object]]] = {"EdgeConnect": {"width": 64}}

    def __init__(
        self,
        width: int = 64,
        discriminator_width: int = 64,
        variant: Variant = "paper",
        gan: GAN = "nsgan",
        canny_sigma: float = 2.0,
        canny_library: CannyLibrary = "scikit-image",
        vgg: VGGWeights = "imagenet",
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=1e-4, betas=(0.0, 0.9)),
        discriminator_optimizer: OptimizerSettings = Adam(lr=1e-5, betas=(0.0, 0.9)),
        stages: tuple[Stage, ...] = STAGES,
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        if width < 1 or discriminator_width < 1:
            raise UserError(f"EdgeConnect: width is {width}, discriminator_width {discriminator_width}; both take 1 or more")
        self.variant = variant
        self.edge_detector = CannyEdges(canny_sigma, canny_library)
        self.generator = EdgeConnectGenerator(width)
        self.discriminator = EdgeConnectDiscriminator(discriminator_width)
        self.vgg = VGGFeatures(19, (*_PERCEPTUAL_LAYERS, *_STYLE_LAYERS), vgg, normalize=False)
        self._gan = _GANS[gan]

    def load_loss_networks(self) -> list[str]:
        """Load VGG, if a loss uses it."""
        if not self.uses_loss("perceptual", "style"):
            return []
        self.vgg.load()
        return [f"Perceptual and style losses use {self.vgg.description}, without ImageNet normalization"]

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Predict edges in the holes of an image (B, 3, H, W) in [0, 1], then the image; the mask (B, 1, H, W) is 1 in holes.

        Raises:
            UserError: sides that are no multiples of 4, or below 12 pixels.
        """
        _check_size(image, _MIN_SIDE)
        edges = self.edge_detector(image, mask)
        prediction: Prediction = self.generator(image, mask, edges, self._test_mode)
        return prediction

    @property
    def _test_mode(self) -> str:
        return "joint" if self.variant == "paper" else "raw_edges"

    def training_forward(self, batch: Batch) -> Prediction:
        """Run the networks of the current stage, with the edges of the complete images."""
        _check_size(batch["image"], _MIN_TRAINING_SIDE)
        prediction: Prediction = self.generator(batch["image"], batch["mask"], self._edges(batch), self.mode)
        return prediction

    def _edges(self, batch: Batch) -> Tensor:
        return batch["edges"] if "edges" in batch else self.edge_detector(batch["image"])

    @property
    def _trains(self) -> tuple[bool, bool]:
        """Whether the current stage trains the edge model, and the inpainting model."""
        return self.mode in ("edge", "joint", None), self.mode != "edge"

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the losses of the generators that the current stage trains."""
        image, mask, output = batch["image"], batch["mask"], prediction.image
        trains_edges, trains_image = self._trains
        terms: dict[str, Tensor | Callable[[], Tensor] | None] = dict.fromkeys(_GENERATOR_TERMS)
        if trains_edges:
            gray, edges, predicted = to_gray(image), self._edges(batch), prediction.stages["predicted_edges"]
            fake = cache(lambda: self.discriminator.edge.features(torch.cat([gray, predicted], dim=1)))

            def feature_matching() -> Tensor:
                with torch.no_grad():
                    real = self.discriminator.edge.features(torch.cat([gray, edges], dim=1))
                return perceptual_loss(fake(), real)

            terms["edge_adversarial"] = lambda: self._gan.generator(fake()[-1])
            terms["feature_matching"] = feature_matching
        if trains_image:
            first_style = len(_PERCEPTUAL_LAYERS)
            terms["l1"] = l1_loss(output, image) / mask.mean().clamp(min=1 / mask.numel())
            terms["adversarial"] = lambda: self._gan.generator(self.discriminator.inpaint(output))
            terms["perceptual"] = lambda: perceptual_loss(self.vgg(output)[:first_style], self.vgg(image)[:first_style])
            terms["style"] = lambda: style_loss(self.vgg(output * mask)[first_style:], self.vgg(image * mask)[first_style:])
        return terms

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the losses of the discriminators that the current stage trains."""
        image = batch["image"]
        trains_edges, trains_image = self._trains
        terms: dict[str, Tensor | None] = dict.fromkeys(_DISCRIMINATOR_TERMS)
        if trains_edges:
            gray = to_gray(image)
            real = self.discriminator.edge(torch.cat([gray, self._edges(batch)], dim=1))
            fake = self.discriminator.edge(torch.cat([gray, prediction.stages["predicted_edges"]], dim=1))
            terms["edge_real"] = self._gan.real(self.record_logits("real", real))
            terms["edge_fake"] = self._gan.fake(self.record_logits("fake", fake))
        if trains_image:  # if both are trained, the log has the mean logits of this one
            terms["real"] = self._gan.real(self.record_logits("real", self.discriminator.inpaint(image)))
            terms["fake"] = self._gan.fake(self.record_logits("fake", self.discriminator.inpaint(prediction.image)))
        return terms

    def predict(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the raw output for images of any size; sides below 12 pixels and those that 4 does not divide are padded."""
        return crop(self._predict_padded(image, mask).image, image.shape[-2], image.shape[-1])

    def predict_edges(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the edges (B, 1, H, W) in [0, 1] of images of any size: predicted in the holes, Canny's elsewhere."""
        return self._predict_padded(image, mask).stages["edges"][..., : image.shape[-2], : image.shape[-1]]

    def _predict_padded(self, image: Tensor, mask: Tensor) -> Prediction:
        prediction: Prediction = self(*pad_to_multiple(image, mask, self.multiple, _MIN_SIDE))
        return prediction

    def predict_from_edges(self, image: Tensor, mask: Tensor, edges: Tensor) -> Tensor:
        """Return the raw output as `predict`, with `edges` (B, 1, H, W) in place of Canny's edges of the known pixels."""
        height, width = image.shape[-2:]
        edges = pad_to_multiple(edges, mask, self.multiple, _MIN_SIDE)[0]
        image, mask = pad_to_multiple(image, mask, self.multiple, _MIN_SIDE)
        prediction: Prediction = self.generator(image, mask, edges, self._test_mode)
        return crop(prediction.image, height, width)

    def predict_with_edges(self, image: Tensor, mask: Tensor, edges: Tensor) -> Tensor:
        """Return the raw output for images of any size, with `edges` (B, 1, H, W) in the holes and Canny's elsewhere."""
        height, width = image.shape[-2:]
        edges = pad_to_multiple(edges, mask, self.multiple, _MIN_SIDE)[0]
        image, mask = pad_to_multiple(image, mask, self.multiple, _MIN_SIDE)
        edge_map = composite(self.edge_detector(image, mask), edges, mask)
        prediction: Prediction = self.generator(image, mask, edge_map, "true_edges")
        return crop(prediction.image, height, width)

    def load_official(
        self,
        generator: Mapping[str, Tensor | Mapping[str, Tensor]],
        discriminator: Mapping[str, Tensor | Mapping[str, Tensor]] | None = None,
    ) -> list[str]:
        """Load weights of knazeri/edge-connect: of both models by name, or of one of them.

        Args:
            generator: {"edge": …, "inpaint": …}, state dicts of the public generators; or the state dict of one, whose first
                kernel shows the model.
            discriminator: the same of the public discriminators.

        Returns:
            The second names of the discriminators' first layers, which are not needed.
        """
        dropped = official_weights.load(self.generator, generator, self.discriminator, discriminator)
        rank_zero_info("Loaded the public weights of EdgeConnect")
        return dropped


def _check_size(image: Tensor, min_side: int) -> None:
    height, width = image.shape[-2:]
    if height % 4 or width % 4 or min(height, width) < min_side:
        raise UserError(
            f"EdgeConnect takes sides that are multiples of 4 from {min_side} on, not {width}x{height}: --data.size 64"
        )


class _GAN(NamedTuple):
    """Adversarial losses of logits: the discriminator's of real and of fake images, and the generator's."""

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _of_probabilities(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    return loss(logits.sigmoid())


_LEAST_SQUARES = (least_squares_real, least_squares_fake, least_squares_generator)
_GANS = {
    "nsgan": _GAN(bce_real, bce_fake, non_saturating_generator),
    "lsgan": _GAN(*(partial(_of_probabilities, loss) for loss in _LEAST_SQUARES)),
    "hinge": _GAN(hinge_real, hinge_fake, hinge_generator),
}
_GENERATOR_TERMS = ("edge_adversarial", "feature_matching", "l1", "adversarial", "perceptual", "style")
_DISCRIMINATOR_TERMS = ("edge_real", "edge_fake", "real", "fake")
