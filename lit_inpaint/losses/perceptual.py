"""Losses on the features of a VGG network: perceptual and style (Gatys et al. 2015, Johnson et al. 2016).

The network is torchvision's, without its classifier and without the layers behind the last one asked for. It is held by a
`FeatureExtractor`, so it is in no checkpoint and no optimizer. Images are on the [0, 1] scale; ImageNet's normalisation happens
inside. Everything is computed in float32 or better, also under autocast: sums over thousands of products need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lit_inpaint.errors import UserError
from lit_inpaint.losses.feature_extractor import FeatureExtractor
from lit_inpaint.storage.pretrained_weights import VGG16, VGG19

Depth = Literal[16, 19]
VGGWeights = Literal["imagenet", "random"]

_CONVOLUTIONS: dict[Depth, tuple[int, ...]] = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # per block
_FILES = {16: VGG16, 19: VGG19}
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SEED = 0


class ImageNetScale(nn.Module):
    """Between [0, 1] and the scale that networks trained on ImageNet see: per channel (x - mean) / deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) on the [0, 1] scale to ImageNet's."""
        return (image - self.mean) / self.deviation

    def back(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) on ImageNet's scale to the [0, 1] scale."""
        return image * self.deviation + self.mean


class VGGFeatures(nn.Module):
    """Feature maps of VGG-16 or VGG-19.

    The network is made by `load`, or at the first use, and not before: a paper that is only counted, or completes images, needs
    no weights of VGG. What is made stays, and moves with its parent.

    Args:
        depth: 16 or 19.
        layers: names, such as "conv1_1" (before its activation), "relu3_2", "pool1"; `forward` returns them in this order.
        weights: "imagenet" reads torchvision's file (see `lit_inpaint.storage.pretrained_weights`). "random" is He's initialisation
            (normal, fan-in) with biases 0 from a fixed seed: no published loss, but one that runs anywhere and says so.

    Raises:
        ValueError: a layer that the network does not have.
    """

    def __init__(self, depth: Depth, layers: tuple[str, ...], weights: VGGWeights = "imagenet") -> None:
        super().__init__()
        known = layer_names(depth)
        if unknown := [name for name in layers if name not in known]:
            raise ValueError(f"VGG-{depth} has no layer {', '.join(unknown)}; it has {', '.join(known)}")
        self.depth = depth
        self.layers = layers
        self.weights = weights
        self.scale = ImageNetScale()
        self.frozen: FeatureExtractor | None = None

    @property
    def about(self) -> str:
        """What the losses look through, for logs and tables."""
        return f"VGG-{self.depth} with {'ImageNet' if self.weights == 'imagenet' else f'RANDOM weights (seed {_SEED})'}"

    def load(self) -> FeatureExtractor:
        """The network; read, or drawn, when this is first called.

        Raises:
            UserError: the weights are missing or not those of this network; says what to do.
        """
        if self.frozen is None:
            names = layer_names(self.depth)
            taps = [names.index(name) for name in self.layers]
            layers = _convolutional_part(self.depth)[: max(taps) + 1]
            if self.weights == "imagenet":
                self._read_into(layers)
            else:
                _draw_into(layers)
            self.frozen = FeatureExtractor(_Taps(layers, taps)).to(self.scale.mean)
        return self.frozen

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image (B, 3, H, W) on the [0, 1] scale to one feature map (B, C, h, w) for each layer asked for."""
        network = self.load()
        with torch.autocast(image.device.type, enabled=False):
            return cast(list[Tensor], network(self.scale(image.to(self.scale.mean.dtype))))

    def _read_into(self, layers: nn.Sequential) -> None:
        file = _FILES[self.depth]
        try:
            content = file.read()
        except UserError as error:
            raise UserError(f"{error}; or do without, by random weights (vgg: random) or loss weights of 0") from error
        try:
            layers.load_state_dict({name: content[f"features.{name}"] for name in layers.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{file.path} is not torchvision's {file.description}; put {file.file} there") from error


class _Taps(nn.Module):
    """A chain of layers that gives the outputs of some of them."""

    def __init__(self, layers: nn.Sequential, taps: Sequence[int]) -> None:
        super().__init__()
        self.layers = layers
        self.taps = tuple(taps)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = {}
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in self.taps:
                outputs[number] = x
        return [outputs[number] for number in self.taps]


def layer_names(depth: Depth) -> list[str]:
    """The names of torchvision's `vgg16().features` or `vgg19().features`, in order: conv1_1, relu1_1, …, pool5."""
    names = []
    for block, convolutions in enumerate(_CONVOLUTIONS[depth], start=1):
        names += [f"{kind}{block}_{number + 1}" for number in range(convolutions) for kind in ("conv", "relu")]
        names.append(f"pool{block}")
    return names


def _convolutional_part(depth: Depth) -> nn.Sequential:
    """All layers before the classifier, their weights not yet set."""
    from torchvision.models import vgg16, vgg19  # its import is slow, and only training needs it

    with torch.device("meta"):  # the classifier, nine tenths of it all, never comes to be
        layers: nn.Sequential = (vgg16 if depth == 16 else vgg19)(weights=None).features
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # or "conv…" would be its ReLU
    return layers.to_empty(device="cpu")


def _draw_into(layers: nn.Sequential) -> None:
    rng = torch.Generator().manual_seed(_SEED)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


FeatureLoss = Callable[[list[Tensor], list[Tensor]], Tensor]
"""Features of an image and of the image it should be like, one tensor (B, C, h, w) for each layer, to a scalar."""


def of_output_and_composite(
    look: Callable[[Tensor], list[Tensor]], output: Tensor, complete: Tensor, truth: Tensor
) -> Callable[[FeatureLoss], Tensor]:
    """A way to take feature losses of both the raw output and the composite (Liu et al. 2018, eq. 3 to 5), added.

    The three images are looked at once, whatever number of losses follows, and not at all if none does.

    Args:
        look: image (B, 3, H, W) to its features.
        output: (B, 3, H, W).
        complete: (B, 3, H, W), the output in the holes alone.
        truth: (B, 3, H, W).
    """

    @cache
    def features() -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        return look(output), look(complete), look(truth)

    def both(loss: FeatureLoss) -> Tensor:
        of_output, of_complete, of_truth = features()
        return loss(of_output, of_truth) + loss(of_complete, of_truth)

    return both


def perceptual_loss(features: Sequence[Tensor], targets: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Sum over layers of the mean absolute difference of two sets of feature maps.

    Args:
        features: (B, C, h, w) for each layer.
        targets: the same of the images to be like.
        weights: of the layers; None: all 1.

    Returns:
        Scalar.
    """
    return _over_layers(l1_loss, features, targets, weights)


def style_loss(
    features: Sequence[Tensor],
    targets: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    distance: Callable[[Tensor, Tensor], Tensor] = l1_loss,
) -> Tensor:
    """Sum over layers of the distance between the Gram matrices of two sets of feature maps.

    Args:
        features: (B, C, h, w) for each layer.
        targets: the same of the images to be like.
        weights: of the layers; None: all 1.
        distance: of two (B, C, C) matrices, a scalar: `l1_loss` or `mse_loss`.

    Returns:
        Scalar.
    """
    return _over_layers(distance, [gram_matrix(x) for x in features], [gram_matrix(x) for x in targets], weights)


def gram_matrix(feature: Tensor) -> Tensor:
    """How channels go together: F Fᵀ / (C h w) with F of shape (C, h w), for each sample.

    Args:
        feature: (B, C, h, w).

    Returns:
        (B, C, C), float32 or better.
    """
    channels = feature.flatten(2).to(torch.promote_types(feature.dtype, torch.float32))
    with torch.autocast(feature.device.type, enabled=False):
        return channels @ channels.transpose(1, 2) / channels[0].numel()


def _over_layers(
    distance: Callable[[Tensor, Tensor], Tensor],
    features: Sequence[Tensor],
    targets: Sequence[Tensor],
    weights: Sequence[float] | None,
) -> Tensor:
    pairs = list(zip(features, targets, strict=True))
    factors = [1.0] * len(pairs) if weights is None else weights
    terms = [factor * distance(feature, target) for factor, (feature, target) in zip(factors, pairs, strict=True)]
    total: Tensor = sum(terms[1:], terms[0])
    return total
