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
        self._held = 0
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
        """Features of complete images, remembered: as `of`."""
        pixels = _bytes(images)
        key = hashlib.blake2b(str(tuple(pixels.shape)).encode() + pixels.cpu().numpy().tobytes(), digest_size=16).digest()
        if key not in self._truths:
            found = self._look(pixels)
            if self._held + len(found) > _REMEMBERED:
                return found
            self._truths[key] = found.cpu()
            self._held += len(found)
        return self._truths[key].to(images.device)

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


def _bytes(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] to bytes, as an 8-bit file holds them."""
    return (images * 255).round().to(torch.uint8)
