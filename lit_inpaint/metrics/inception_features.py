"""Images as a network sees them: what FID and KID compare."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

_AT_ONCE_ON_CPU, _AT_ONCE = 16, 64  # images: more are no faster and take memory
_REMEMBERED = 65_536  # truths: half a gigabyte of Inception's features


class Features(ABC):
    """Feature vectors of 8-bit images.

    No `nn.Module` on purpose: what holds one has no submodule by it, so no checkpoint, optimizer, EMA or DDP meets the network.
    It is loaded at the first use, stays in eval mode, and goes where the images are.

    Truths come again, for each method that completes them and at each validation. Their features are remembered by their
    pixels, so that they are computed once for all measures that share one object of this class.

    Attributes:
        about: what the network is, for logs and tables.
        suffix: what is added to the names of measures: "" for the field's network, else what it is instead.
        dimensions: length of a feature vector.
    """

    about: str
    suffix: str = ""
    dimensions: int

    def __init__(self) -> None:
        self._network: nn.Module | None = None
        self._truths: dict[bytes, Tensor] = {}
        self._last: tuple[Tensor, Tensor] | None = None

    @abstractmethod
    def load(self) -> nn.Module:
        """The network: images (B, 3, H, W) in [0, 1] to (B, dimensions).

        Raises:
            UserError: its weights are missing or broken.
        """

    def require_weights(self) -> None:
        """Load the network now, if it is not yet there.

        Raises:
            UserError: its weights are missing or broken.
        """
        if self._network is None:
            self._network = self.load().eval().requires_grad_(False)

    def of_truth(self, images: Tensor) -> Tensor:
        """Features of complete images, each remembered, so that one that comes again is not looked at: as `of`."""
        pixels, keys = _bytes(images), hashes(images)
        new = {key: place for place, key in enumerate(keys) if key not in self._truths}
        looked = dict(zip(new, self._look(pixels[list(new.values())]).cpu(), strict=True)) if new else {}
        found = [self._truths[key] if key in self._truths else looked[key] for key in keys]
        for key, vector in looked.items():
            if len(self._truths) < _REMEMBERED:
                self._truths[key] = vector.clone()  # or it would hold on to its whole batch
        return torch.stack(found).to(images.device) if found else self._look(pixels)

    def of(self, images: Tensor) -> Tensor:
        """Features of images; those of the latest batch are kept for another measure that asks for the same.

        Args:
            images: (B, 3, H, W) in [0, 1], rounded to multiples of 1/255.

        Returns:
            (B, dimensions), float32.
        """
        pixels = _bytes(images)
        if self._last is None or self._last[0].device != pixels.device or not torch.equal(self._last[0], pixels):
            self._last = pixels, self._look(pixels)
        return self._last[1]

    @torch.no_grad()
    def _look(self, pixels: Tensor) -> Tensor:
        self.require_weights()
        assert self._network is not None
        network = self._network.to(pixels.device)
        size = _AT_ONCE_ON_CPU if pixels.device.type == "cpu" else _AT_ONCE
        with torch.autocast(pixels.device.type, enabled=False):
            parts = [network(part.float() / 255).float() for part in torch.split(pixels, size)]
        return torch.cat(parts) if parts else torch.zeros(0, self.dimensions, device=pixels.device)


def hashes(images: Tensor) -> list[bytes]:
    """What each of (B, 3, H, W) images in [0, 1] is known by: 8 bytes that depend on its size and its 8-bit pixels."""
    pixels = _bytes(images).cpu().numpy()
    size = str(pixels.shape[1:]).encode()
    return [hashlib.blake2b(size + image.tobytes(), digest_size=8).digest() for image in pixels]


def _bytes(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] to bytes, as an 8-bit file holds them."""
    return (images * 255).round().to(torch.uint8)
