"""What a mask source is, and the few things that every source needs."""

from __future__ import annotations

import hashlib
import math
import os
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.errors import UserError


class MaskSource(ABC):
    """Draws masks of any size. A source holds options only: all chance comes from the generator it is called with.

    Sources are frozen dataclasses, so that they can be compared, printed, sent to workers and written to YAML. A new one
    needs typed fields, `__call__`, and for its random numbers `python_rng(rng)`; one that paints on bytes derives from
    `NumpyMaskSource` and needs `sample_uint8` instead.
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

    def fingerprint(self) -> str:
        """What the masks depend on beside the options: of sources that read files, which these are; of all others nothing.

        Here the fingerprints of the sources that this one takes its masks from.
        """
        held = vars(self).values()
        sources = [part for value in held for part in (value if isinstance(value, tuple) else (value,))]
        return "".join(source.fingerprint() for source in sources if isinstance(source, MaskSource))

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """The mask that `__call__` would draw, as (H, W) bytes: what sources that alter or join masks work on."""
        drawn: NDArray[np.uint8] = self(size, rng)[0].numpy().astype(np.uint8)
        return drawn


class NumpyMaskSource(MaskSource):
    """A source that paints on bytes: a quarter of a float mask's memory, so most of a mask's work is four times faster."""

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """One mask (1, H, W), 1 = hole; errors are those of `sample_uint8`."""
        return torch.from_numpy(self.sample_uint8(size, rng)[None].astype(np.float32))

    @abstractmethod
    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask as (H, W) bytes, exactly 0 or 1, 1 = hole, in memory of its own."""


def python_rng(rng: torch.Generator) -> random.Random:
    """Python's generator, seeded by one draw from `rng`.

    Sources need a handful of scalars of several distributions: Python draws them some ten times faster than a tensor per
    scalar, without vectorised arithmetic, whose last digit (and so a truncated pixel) may differ between two machines.
    """
    return random.Random(int(torch.randint(2**63 - 1, (), generator=rng, device=rng.device)))


def random_bits(chance: random.Random, count: int) -> NDArray[np.uint8]:
    """(count,) bytes, 0 or 1 equally often: where a source fills whole arrays, each of the bits that `chance` draws is one."""
    return np.unpackbits(np.frombuffer(chance.randbytes(-(-count // 8)), np.uint8), count=count)


def fingerprint_of(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 of the files' paths below `folder` and their sizes; 64 hexadecimal digits."""
    content = hashlib.sha256()
    for file in files:
        content.update(os.fsencode(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0"))
    return content.hexdigest()


def mask_ratio(mask: Tensor) -> Tensor:
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
