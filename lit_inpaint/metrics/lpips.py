"""Learned perceptual image patch similarity (LPIPS)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lit_inpaint.errors import UserError
from lit_inpaint.storage.pretrained_weights import ALEXNET, SQUEEZENET, VGG16

LPIPSNet = Literal["alex", "vgg", "squeeze"]
LPIPSWeights = Literal["imagenet", "random"]

_FILES = {"alex": ALEXNET, "vgg": VGG16, "squeeze": SQUEEZENET}
_NETWORKS = {"alex": "AlexNet", "vgg": "VGG-16", "squeeze": "SqueezeNet 1.1"}
_SEED = 0


class LPIPS:
    """LPIPS (Zhang et al. 2018) of each image, version 0.1 of the `lpips` package; lower is better.

    A function of two batches in [0, 1], usable as a `Metric`'s function; the package itself expects [-1, 1]. Networks
    give different numbers, so the name contains the network.

    Not an `nn.Module`, so that no checkpoint, optimizer or DDP finds the network. It is loaded at the first use and moves to
    the device of the images.

    Args:
        net: "alex", the authors' choice for measuring, "vgg", or "squeeze".
        weights: of the network; the linear layers on top are always the package's. "imagenet" reads torchvision's file (see
            `lit_inpaint.storage.pretrained_weights`). A path reads that file instead, in the same form. "random" is He
            initialization from a fixed seed: it needs no file, and its values compare with no published number. The name then
            ends with `_random_weights`.

    Attributes:
        name: in rows and log keys: `lpips_alex`, `lpips_vgg`, `lpips_squeeze`.
        description: the network, for logs and tables.
    """

    def __init__(self, net: LPIPSNet = "alex", weights: LPIPSWeights | Path = "imagenet") -> None:
        self.net = net
        self.weights = weights
        self.name = f"lpips_{net}{'_random_weights' if weights == 'random' else ''}"
        published = {"imagenet": "ImageNet", "random": f"RANDOM weights (seed {_SEED})"}
        origin = f"weights of {weights}" if isinstance(weights, Path) else published[weights]
        self.description = f"{_NETWORKS[net]} with {origin}"
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
        file, other = _FILES[self.net], self.weights if isinstance(self.weights, Path) else None
        try:
            state = file.read(other)
        except UserError as error:
            raise UserError(
                f"{error}; PSNR, SSIM and L1 need no weights; metrics named *_random_weights need no file"
            ) from error
        try:
            for number, layer in layers.items():
                layer.load_state_dict({name: state[f"features.{number}.{name}"] for name in layer.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise file.mismatch(f"torchvision's {file.description}", other) from error


def _initialize_randomly(layers: dict[int, nn.Module]) -> None:
    rng = torch.Generator().manual_seed(_SEED)
    for _, layer in sorted(layers.items(), key=lambda item: item[0]):
        for part in layer.modules():  # a layer of SqueezeNet holds three convolutions
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=rng)
                nn.init.zeros_(cast(Any, part.bias))
