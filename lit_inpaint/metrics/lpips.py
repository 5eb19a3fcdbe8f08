"""Learned perceptual image patch similarity."""

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

    A function of two batches, so it may be a `Measure`'s. Takes [0, 1], where the package takes [-1, 1]: mixing these up is the
    commonest mistake with it. The two networks give different numbers, so the name says which.

    The network is read at the first use and held in no `nn.Module`; it goes where the images are.

    Args:
        net: "alex", the authors' choice for measuring, or "vgg".
        weights: of the network; the linear layers behind it are always the package's. "imagenet" reads torchvision's file (see
            `lit_inpaint.storage.pretrained_weights`). "random" is He's initialisation from a fixed seed: no published number, but one that runs
            anywhere and says so in its name.

    Attributes:
        name: as rows and log keys call it: `lpips_alex`, `lpips_vgg`.
        about: what the network is, for logs and tables.
    """

    def __init__(self, net: LPIPSNet = "alex", weights: LPIPSWeights = "imagenet") -> None:
        self.net = net
        self.weights = weights
        self.name = f"lpips_{net}{'' if weights == 'imagenet' else '_random_weights'}"
        seen = {"alex": "AlexNet", "vgg": "VGG-16"}[net]
        self.about = f"{seen} with {'ImageNet' if weights == 'imagenet' else f'RANDOM weights (seed {_SEED})'}"
        self._network: nn.Module | None = None

    def require_weights(self) -> None:
        """Load the network now, if it is not yet there.

        Raises:
            UserError: its weights are missing or broken; says what to do.
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
            (B,) float64, 0 for identical images; NaN where `prediction` holds what is not a number.

        Raises:
            UserError: the weights are missing or broken.
        """
        self.require_weights()
        network = cast(nn.Module, self._network).to(target.device)
        with torch.autocast(target.device.type, enabled=False):
            found: Tensor = network(2 * prediction.float() - 1, 2 * target.float() - 1)
        return found.double().flatten()

    def _load(self) -> nn.Module:
        import lpips  # slow to import, as it imports torchvision's models

        with warnings.catch_warnings(), torch.random.fork_rng(devices=()):  # it draws weights that are then replaced
            warnings.simplefilter("ignore", UserWarning)  # of torchvision, about an argument that the package still uses
            network = lpips.LPIPS(net=self.net, pnet_rand=True, verbose=False)
        # Slices hold torchvision's layers under their numbers: `slice2.3.weight` is `features.3.weight`.
        layers = {int(name): layer for part in network.net.children() for name, layer in part.named_children()}
        if self.weights == "random":
            _draw_into(layers)
        else:
            self._read_into(layers)
        return cast(nn.Module, network.requires_grad_(False))

    def _read_into(self, layers: dict[int, nn.Module]) -> None:
        file = _FILES[self.net]
        try:
            content = file.read()
        except UserError as error:
            raise UserError(f"{error}; PSNR, SSIM and L1 need no weights, and random ones make a number named so") from error
        try:
            for number, layer in layers.items():
                layer.load_state_dict({name: content[f"features.{number}.{name}"] for name in layer.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{file.path} is not torchvision's {file.description}; put {file.file} there") from error


def _draw_into(layers: dict[int, nn.Module]) -> None:
    rng = torch.Generator().manual_seed(_SEED)
    for _, layer in sorted(layers.items(), key=lambda item: item[0]):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=rng)
            nn.init.zeros_(cast(Any, layer.bias))
