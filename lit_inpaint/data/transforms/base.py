"""Base class of all transforms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class Transform(ABC):
    """Crops, resizes or augments an image. A transform has no state: it draws from the generator that it is called with.

    Attributes:
        square: whether the result is a square of the requested size. If not, results differ in shape and cannot be batched.
    """

    square: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
        """Transform an image.

        Args:
            image: (3, H, W) uint8, any H and W from 1 on. It is not modified.
            size: side of the square in pixels.
            rng: source of every draw.

        Returns:
            (3, size, size) uint8, or (3, *output_shape).
        """

    def output_shape(self, image_shape: tuple[int, int], size: int) -> tuple[int, int]:
        """Return (H, W) of the result for an image of (H, W) pixels."""
        return size, size

    def describe(self, size: int) -> str:
        """Describe the size of the results, for messages."""
        return f"{size} px"
