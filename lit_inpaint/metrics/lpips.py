"""Learned perceptual image patch similarity (LPIPS)."""

from __future__ import annotations

import warnings
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lit_inpaint.errors import UserError
from lit_inpaint.storage.pretrained_weights import ALEXNET, VGG16

LPIPSNet = Literal["alex", "vgg"]
LPIPSWeights = Literal["imagenet", "random"]

_FILES = {"alex": ALEXNET, "vgg": VGG16}
_SEED = 0


class LPIPS:
    """LPIPS (Zhang et al. 2018) of each image, version 0.1 of the `lpips` package; lower is better.

    A function of two batches in [0, 1], usable as a `Metric`'s function; the package itself expects [-1, 1]. AlexNet and VGG
    give different numbers, so the name contains the network.

    Not an `nn.Module`, so that no checkpoint, optimizer or DDP finds the network. It is loaded at the first use and moves to
    the device of the images.

    Args:
        net: "alex", the authors' choice for measuring, or "vgg".
        weights: of the network; the linear layers on top are always the package's. "imagenet" reads torchvision's file (see
            `lit_inpaint.storage.pretrained_weights`). "random" is He initialization from a fixed seed: it needs no file, and
            its values compare with no published number. The name then ends with `_random_weights`.

    Attributes:
        name: in rows and log keys: `lpips_alex`, `lpips_vgg`.
        description: the network, for logs and tables.
    """

    def __init__(self, net: LPIPSNet = "alex", weights: LPIPSWeights = "imagenet") -> None:
        self.net = net
        self.weights = weights
        self.name = f"lpips_{net}{'' if weights == 'imagenet' else '_random_weights'}"
        network = {"alex": "AlexNet", "vgg": "VGG-16"}[net]
        self.description = f"{network} with {'ImageNet' if weights == 'imagenet' else f'RANDOM weights (seed {_SEED})'}"
        self._network: nn.Module | None = None

    def require_weights(self) -> None:
        """Load the network now if it is not loaded yet.

        Raises:
            UserError: its weights are missing or broken; names the remedy.
        """
        if self._network is None:
            self._network = self._load()

    @torch.no_grad()
    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Distance of each pair of images.

        Args:
            prediction: (B, 3, H, W) in [0, 1]; at least 32x32 pixels.
            target: (B, 3, H, W) in [0, 1].

        Returns:
            (B,) float64, 0 for identical images; NaN where `prediction` holds NaN.

        Raises:
            UserError: the weights are missing or broken.
        """
        self.require_weights()
        network = cast(nn.Module, self._network).to(target.device)
        with torch.autocast(target.device.type, enabled=False):
            distances: Tensor = network(2 * prediction.float() - 1, 2 * target.float() - 1)
        return distances.double().flatten()

    def _load(self) -> nn.Module:
        import lpips  # slow to import: it imports torchvision's models

        with warnings.catch_warnings(), torch.random.fork_rng(devices=()):  # the package draws weights that are replaced below
            warnings.simplefilter("ignore", UserWarning)  # torchvision deprecates an argument that the package uses
            network = lpips.LPIPS(net=self.net, pnet_rand=True, verbose=False)
        # The package's slices keep torchvision's layer numbers: `slice2.3.weight` is `features.3.weight`.
        layers = {int(name): layer for part in network.net.children() for name, layer in part.named_children()}
        if self.weights == "random":
            _initialize_randomly(layers)
        else:
            self._read_weights_into(layers)
        return cast(nn.Module, network.requires_grad_(False))

    def _read_weights_into(self, layers: dict[int, nn.Module]) -> None:
        file = _FILES[self.net]
        try:
            state = file.read()
        except UserError as error:
            raise UserError(
                f"{error}; PSNR, SSIM and L1 need no weights; metrics named *_random_weights need no file"
            ) from error
        try:
            for number, layer in layers.items():
                layer.load_state_dict({name: state[f"features.{number}.{name}"] for name in layer.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{file.path} is not torchvision's {file.description}; put {file.file} there") from error


def _initialize_randomly(layers: dict[int, nn.Module]) -> None:
    rng = torch.Generator().manual_seed(_SEED)
    for _, layer in sorted(layers.items(), key=lambda item: item[0]):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=rng)
            nn.init.zeros_(cast(Any, layer.bias))
