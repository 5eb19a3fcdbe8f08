"""Extract the Inception-v3 features that FID and KID compare."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lit_inpaint.errors import UserError
from lit_inpaint.storage.pretrained_weights import INCEPTION

InceptionWeights = Literal["imagenet", "random"]

_BATCH_SIZE_CPU, _BATCH_SIZE = 16, 64  # larger batches are no faster and take memory
_MAX_CACHED = 65_536  # targets: 512 MiB of Inception features
_INPUT_SIZE = 299  # pixels
_NUM_CLASSES = 1008
_SEED = 0


class FeatureExtractor(ABC):
    """Feature vectors of 8-bit images.

    Not an `nn.Module`, so that no checkpoint, optimizer, EMA or DDP finds the network inside a metric. The network is loaded
    at the first use, stays in eval mode, and moves to the device of the images.

    The same targets recur for each method and at each validation. Their features are cached by a hash of the pixels, so all
    metrics that share one extractor compute them once.

    Attributes:
        description: the network, for logs and tables.
        suffix: appended to the names of metrics; empty for the standard network and weights.
        dimensions: length of a feature vector.
    """

    description: str
    suffix: str = ""
    dimensions: int

    def __init__(self) -> None:
        self._network: nn.Module | None = None
        self._targets: dict[bytes, Tensor] = {}
        self._last: tuple[Tensor, Tensor] | None = None

    @property
    def identity(self) -> str:
        """A text that changes with the network and its weights."""
        return self.description

    @abstractmethod
    def load(self) -> nn.Module:
        """Build the network: images (B, 3, H, W) in [0, 1] to (B, dimensions).

        Raises:
            UserError: its weights are missing or broken.
        """

    def require_weights(self) -> None:
        """Load the network now if it is not loaded yet.

        Raises:
            UserError: its weights are missing or broken.
        """
        if self._network is None:
            self._network = self.load().eval().requires_grad_(False)

    def extract_target(self, images: Tensor) -> Tensor:
        """Features of complete images, from the cache where possible; arguments and result as in `extract`."""
        pixels, keys = _to_uint8(images), image_hashes(images)
        new = {key: index for index, key in enumerate(keys) if key not in self._targets}
        computed = dict(zip(new, self._forward(pixels[list(new.values())]).cpu(), strict=True)) if new else {}
        features = [self._targets[key] if key in self._targets else computed[key] for key in keys]
        for key, vector in computed.items():
            if len(self._targets) < _MAX_CACHED:
                self._targets[key] = vector.clone()  # a view would keep the whole batch in memory
        return torch.stack(features).to(images.device) if features else self._forward(pixels)

    def extract(self, images: Tensor) -> Tensor:
        """Features of images. Those of the last batch are kept for a second metric that needs the same.

        Args:
            images: (B, 3, H, W) in [0, 1], rounded to multiples of 1/255.

        Returns:
            (B, dimensions), float32.
        """
        pixels = _to_uint8(images)
        if self._last is None or self._last[0].device != pixels.device or not torch.equal(self._last[0], pixels):
            self._last = pixels, self._forward(pixels)
        return self._last[1]

    @torch.no_grad()
    def _forward(self, pixels: Tensor) -> Tensor:
        self.require_weights()
        network = cast(nn.Module, self._network).to(pixels.device)
        size = _BATCH_SIZE_CPU if pixels.device.type == "cpu" else _BATCH_SIZE
        with torch.autocast(pixels.device.type, enabled=False):
            batches = [network(batch.float() / 255).float() for batch in torch.split(pixels, size)]
        return torch.cat(batches) if batches else torch.zeros(0, self.dimensions, device=pixels.device)


class InceptionFeatures(FeatureExtractor):
    """The 2048 features before the classifier of FID's Inception-v3: TensorFlow's of 2015, in pytorch-fid's port.

    Images are resized to 299x299 (bilinear, no antialiasing) and scaled to [-1, 1], as in pytorch-fid (Seitzer 2020).

    Args:
        weights: "imagenet" reads pytorch-fid's file (see `lit_inpaint.storage.pretrained_weights`). A path reads that file
            instead, in the same form. "random" is He initialization (normal, fan-in) from a fixed seed: it needs no file, and
            its values compare with no published number. The names of metrics then end with `_random_weights`.
    """

    dimensions = 2048

    def __init__(self, weights: InceptionWeights | Path = "imagenet") -> None:
        super().__init__()
        self.weights = weights
        published = {"imagenet": "", "random": f" with RANDOM weights (seed {_SEED})"}
        origin = f" with weights of {weights}" if isinstance(weights, Path) else published[weights]
        self.description = f"FID's Inception-v3{origin}"
        self.suffix = "_random_weights" if weights == "random" else ""

    @property
    def identity(self) -> str:
        """Network, file of its weights, and the file's modification time."""
        return f"{self.description} {self.weights.stat().st_mtime_ns}" if isinstance(self.weights, Path) else self.description

    def load(self) -> nn.Module:
        """Build the network and read or draw its weights.

        Raises:
            UserError: the file is missing, or holds another network; names the remedy.
        """
        inception = build_inception()
        if self.weights == "random":
            initialize_randomly(inception)
        else:
            _read_weights_into(inception, self.weights if isinstance(self.weights, Path) else None)
        return _ResizedInception(inception)


def build_inception() -> nn.Module:
    """Build pytorch-fid's Inception-v3 with uninitialized weights.

    `pytorch_fid.inception.fid_inception_v3` makes the same replacements, but downloads its weights.
    """
    from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
    from torchvision.models import inception_v3  # slow to import, as is pytorch_fid.inception, which imports it

    with torch.device("meta"):  # skips an initialization whose values would be replaced
        inception = inception_v3(weights=None, num_classes=_NUM_CLASSES, aux_logits=False, init_weights=False)
        inception.Mixed_5b = FIDInceptionA(192, pool_features=32)
        inception.Mixed_5c = FIDInceptionA(256, pool_features=64)
        inception.Mixed_5d = FIDInceptionA(288, pool_features=64)
        inception.Mixed_6b = FIDInceptionC(768, channels_7x7=128)
        inception.Mixed_6c = FIDInceptionC(768, channels_7x7=160)
        inception.Mixed_6d = FIDInceptionC(768, channels_7x7=160)
        inception.Mixed_6e = FIDInceptionC(768, channels_7x7=192)
        inception.Mixed_7b = FIDInceptionE_1(1280)
        inception.Mixed_7c = FIDInceptionE_2(2048)
    return cast(nn.Module, inception.to_empty(device="cpu"))


def initialize_randomly(inception: nn.Module) -> None:
    """Set all weights: He initialization from a fixed seed, biases 0, batch norms that change nothing."""
    rng = torch.Generator().manual_seed(_SEED)
    for layer in inception.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _read_weights_into(inception: nn.Module, other: Path | None) -> None:
    try:
        state = INCEPTION.read(other)
    except UserError as error:
        raise UserError(f"{error}; PSNR, SSIM and L1 need no weights; metrics named *_random_weights need no file") from error
    try:
        inception.load_state_dict(state)
    except RuntimeError as error:
        raise INCEPTION.mismatch("pytorch-fid's Inception-v3", other) from error


class _ResizedInception(nn.Module):
    """Images (B, 3, H, W) in [0, 1] of any size to features (B, 2048).

    Each batch norm is fused into its convolution, and the memory format is channels last. This changes features by rounding
    only and takes two thirds of the time on a CPU.
    """

    def __init__(self, inception: nn.Module) -> None:
        super().__init__()
        inception.fc = nn.Identity()  # FID uses the input of the classifier
        _fuse_batch_norms(inception.eval())
        self.inception = inception.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        image = interpolate(image, size=(_INPUT_SIZE, _INPUT_SIZE), mode="bilinear", align_corners=False)
        features: Tensor = self.inception((2 * image - 1).contiguous(memory_format=torch.channels_last))
        return features


def _fuse_batch_norms(inception: nn.Module) -> None:
    from torchvision.models.inception import BasicConv2d

    for module in inception.modules():
        if isinstance(module, BasicConv2d):
            block = cast(Any, module)
            block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()


def image_hashes(images: Tensor) -> list[bytes]:
    """8-byte hashes of (B, 3, H, W) images in [0, 1], each of the image's size and 8-bit pixels."""
    pixels = _to_uint8(images).cpu().numpy()
    size = str(pixels.shape[1:]).encode()
    return [hashlib.blake2b(size + image.tobytes(), digest_size=8).digest() for image in pixels]


def _to_uint8(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)
