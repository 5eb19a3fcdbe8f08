"""What a mask source is, and the few things that every source needs."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lit_inpaint.types import UserError


class MaskSource(ABC):
    """Draws masks of any size. A source holds options only: all chance comes from the generator it is called with.

    Sources are frozen dataclasses, so that they can be compared, printed, sent to workers and written to YAML. A new one
    needs typed fields, `__call__`, and for its random numbers `dice(rng)`, or `rng` itself where it fills whole arrays.
    """

    @abstractmethod
    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """Draw one mask: the same size and the same state of `rng` give the same mask in every process.

        Args:
            size: (H, W) in pixels.
            rng: the only source of chance; its state moves on.

        Returns:
            (1, H, W) float32, exactly 0 or 1, 1 = hole.

        Raises:
            UserError: if the options make no mask of this size.
        """


def dice(rng: torch.Generator) -> random.Random:
    """Python's generator, seeded by one draw from `rng`.

    Sources need a handful of scalars of several distributions: Python draws them some ten times faster than a tensor per
    scalar, without vectorised arithmetic, whose last digit (and so a truncated pixel) may differ between two machines.
    """
    return random.Random(int(torch.randint(2**63 - 1, (), generator=rng, device=rng.device)))


def hole_share(mask: Tensor) -> Tensor:
    """Share of the pixels of each mask that is hole.

    Args:
        mask: (..., 1, H, W), exactly 0 or 1, 1 = hole.

    Returns:
        (...) float64 in [0, 1]: exact, so that a share on the edge of a range falls on the same side everywhere.
    """
    return mask.mean(dim=(-3, -2, -1), dtype=torch.float64)


def require_range(option: str, values: tuple[float, float], least: float, most: float = math.inf) -> None:
    """Check that `values` is an ordered pair within [least, most].

    Raises:
        UserError: naming the option and what it holds.
    """
    low, high = values
    if not least <= low <= high <= most:
        bound = f"within [{least}, {most}]" if most < math.inf else f"of at least {least}"
        raise UserError(f"{option} is ({low}, {high}); it takes a smallest and a largest value {bound}")
