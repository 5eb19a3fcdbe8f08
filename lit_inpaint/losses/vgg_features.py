"""Feature maps of VGG-16 and VGG-19 for perceptual and style losses.

The network is torchvision's up to the last requested layer, without its classifier. A `FeatureExtractor` holds it, so it is in
no checkpoint and no optimizer. Images are on the [0, 1] scale; ImageNet normalization is applied inside. All computation is in
float32 or better, also under autocast: sums over thousands of products need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, cast

import torch
from torch import Tensor, nn

from lit_inpaint.errors import UserError
from lit_inpaint.losses.feature_extractor import FeatureExtractor
from lit_inpaint.storage.pretrained_weights import VGG16, VGG19
from lit_inpaint.storage.user_path import user_path

Depth = Literal[16, 19]
VGGWeights = Literal["imagenet", "random"] | str

_CONVOLUTIONS: dict[Depth, tuple[int, ...]] = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # per block
_FILES = {16: VGG16, 19: VGG19}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_OXFORD_MEAN, _OXFORD_STD = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)
_OXFORD_FIRST = (0.4800, 0.4085, -0.0651)  # of the first kernel, in red
_SEED = 0


class ImageNetNormalization(nn.Module):
    """Normalize images as networks trained on ImageNet expect: per channel (x - mean) / std.

    Args:
        mean: of each channel on the [0, 1] scale; by default torchvision's.
        std: the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = _MEAN, std: Sequence[float] = _STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) on the [0, 1] scale to normalized."""
        return (image - self.mean) / self.std

    def inverse(self, image: Tensor) -> Tensor:
        """(B, 3, H, W), normalized, to the [0, 1] scale."""
        return image * self.std + self.mean


class VGGFeatures(nn.Module):
    """Feature maps of VGG-16 or VGG-19.

    `load` or the first forward pass creates the network. So a paper needs no VGG weights to be counted or to complete images.
    Once created, the network is kept and moves with its parent module.

    Args:
        depth: 16 or 19.
        layers: names, such as "conv1_1" (before its activation), "relu3_2", "pool1"; `forward` returns them in this order.
        weights: "imagenet" reads torchvision's file (see `lit_inpaint.storage.pretrained_weights`). "random" is He's
            initialization (normal, fan-in) with biases 0 from a fixed seed: not a published loss, but it needs no file, and
            `description` names it. Anything else is a file with a state dict of torchvision's layers, which may end with the
            last one that is needed. Oxford's weights, which Caffe and Keras use, are recognized by their first kernel and get
            their own preprocessing: [0, 255] minus the mean, so features are some 50 times as large.
        normalize: apply ImageNet normalization, as in the training of the network; some public codes do not. Oxford's weights
            always get their preprocessing.

    Raises:
        ValueError: a layer that the network does not have.
    """

    def __init__(self, depth: Depth, layers: tuple[str, ...], weights: VGGWeights = "imagenet", normalize: bool = True) -> None:
        super().__init__()
        known = layer_names(depth)
        if unknown := [name for name in layers if name not in known]:
            raise ValueError(f"VGG-{depth} has no layer {', '.join(unknown)}; it has {', '.join(known)}")
        self.depth = depth
        self.layers = layers
        self.weights = weights
        self.normalize = normalize
        self.normalization = ImageNetNormalization()
        self.extractor: FeatureExtractor | None = None
        self._is_oxford = False

    @property
    def description(self) -> str:
        """The network and its weights, for logs and tables."""
        named = {"imagenet": "ImageNet weights", "random": f"RANDOM weights (seed {_SEED})"}
        oxford = ", Oxford's preprocessing" if self.extractor is not None and self._is_oxford else ""
        return f"VGG-{self.depth} with {named.get(self.weights, f'the weights in {self.weights}')}{oxford}"

    def load(self) -> FeatureExtractor:
        """Return the network; the first call reads its weights or draws them.

        Raises:
            UserError: the weights are missing or belong to another network; the message names the remedy.
        """
        if self.extractor is None:
            names = layer_names(self.depth)
            indices = [names.index(name) for name in self.layers]
            layers = _convolutional_part(self.depth)[: max(indices) + 1]
            if self.weights == "random":
                _initialize(layers)
            else:
                self._read_into(layers)
                first = next(layers.parameters()).detach()[0, 0, 0].float()
                self._is_oxford = torch.allclose(first, torch.tensor(_OXFORD_FIRST), atol=1e-3)
            if self._is_oxford:
                self.normalization = ImageNetNormalization(_OXFORD_MEAN, _OXFORD_STD).to(self.normalization.mean)
            self.extractor = FeatureExtractor(_LayerOutputs(layers, indices)).to(self.normalization.mean)
        return self.extractor

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image (B, 3, H, W) on the [0, 1] scale to one feature map (B, C, h, w) for each requested layer."""
        network = self.load()
        with torch.autocast(image.device.type, enabled=False):
            image = image.to(self.normalization.mean.dtype)
            return cast(list[Tensor], network(self.normalization(image) if self.normalize or self._is_oxford else image))

    def _read_into(self, layers: nn.Sequential) -> None:
        file, own = _FILES[self.depth], None if self.weights == "imagenet" else user_path(self.weights)
        try:
            content = file.read(own)
        except UserError as error:
            raise UserError(f"{error}; or do without, by random weights (vgg: random) or loss weights of 0") from error
        content = {name.removeprefix("features."): value for name, value in content.items()}
        try:
            layers.load_state_dict({name: content[name] for name in layers.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise file.mismatch(f"torchvision's {file.description}", own) from error


class _LayerOutputs(nn.Module):
    """Run layers in order and return the outputs of those at `indices`, in the order of `indices`."""

    def __init__(self, layers: nn.Sequential, indices: Sequence[int]) -> None:
        super().__init__()
        self.layers = layers
        self.indices = tuple(indices)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = {}
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.indices:
                outputs[index] = x
        return [outputs[index] for index in self.indices]


def layer_names(depth: Depth) -> list[str]:
    """Name the layers of torchvision's `vgg16().features` or `vgg19().features`, in order: conv1_1, relu1_1, …, pool5."""
    names = []
    for block, convolutions in enumerate(_CONVOLUTIONS[depth], start=1):
        names += [f"{kind}{block}_{number + 1}" for number in range(convolutions) for kind in ("conv", "relu")]
        names.append(f"pool{block}")
    return names


FeatureLoss = Callable[[list[Tensor], list[Tensor]], Tensor]
"""Features of an image and of its target, one tensor (B, C, h, w) for each layer, to a scalar."""


def of_output_and_composite(
    extract: Callable[[Tensor], list[Tensor]], output: Tensor, complete: Tensor, target: Tensor
) -> Callable[[FeatureLoss], Tensor]:
    """Return a function that adds a feature loss of the raw output and one of the composite (Liu et al. 2018, eq. 3 to 5).

    The first loss extracts the features of the three images, further losses reuse them; without a loss nothing is computed.

    Args:
        extract: image (B, 3, H, W) to its features.
        output: (B, 3, H, W).
        complete: (B, 3, H, W), the composite: `output` in the holes, `target` elsewhere.
        target: (B, 3, H, W).
    """

    @cache
    def features() -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        return extract(output), extract(complete), extract(target)

    def both(loss: FeatureLoss) -> Tensor:
        of_output, of_complete, of_target = features()
        return loss(of_output, of_target) + loss(of_complete, of_target)

    return both


def sum_over_layers(
    distance: Callable[[Tensor, Tensor], Tensor],
    features: Sequence[Tensor],
    targets: Sequence[Tensor],
    weights: Sequence[float] | None,
) -> Tensor:
    """Add the distances of two sets of feature maps, layer by layer.

    Args:
        distance: two tensors of one layer to a scalar.
        features: one tensor for each layer.
        targets: the same of the target image.
        weights: of the layers; None: all 1.

    Returns:
        Scalar.
    """
    pairs = list(zip(features, targets, strict=True))
    factors = [1.0] * len(pairs) if weights is None else weights
    terms = [factor * distance(feature, target) for factor, (feature, target) in zip(factors, pairs, strict=True)]
    total: Tensor = sum(terms[1:], terms[0])
    return total


def _convolutional_part(depth: Depth) -> nn.Sequential:
    """Create all layers before the classifier with uninitialized weights."""
    from torchvision.models import vgg16, vgg19  # its import is slow, and only training needs it

    with torch.device("meta"):  # the classifier, nine tenths of the weights, takes no memory
        layers: nn.Sequential = (vgg16 if depth == 16 else vgg19)(weights=None).features
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # or the output of a convolution would be overwritten by its ReLU
    return layers.to_empty(device="cpu")


def _initialize(layers: nn.Sequential) -> None:
    rng = torch.Generator().manual_seed(_SEED)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
