"""Base classes of mask sources, and the functions that all sources share."""

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
    """Base class: draws masks of any size.

    A source is a frozen dataclass that holds options only, so that it can be compared, printed, pickled and written to YAML.
    All randomness comes from the generator of the call. A new source needs typed fields and `__call__`, and takes its random
    numbers from `python_rng(rng)`. A source that draws on a NumPy array derives from `NumpyMaskSource` instead.
    """

    @abstractmethod
    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """Draw one mask: the same size and the same state of `rng` give the same mask in every process.

        Args:
            size: (H, W) in pixels.
            rng: the only source of randomness; the call advances its state.

        Returns:
            (1, H, W) float32, exactly 0 or 1, 1 = hole.

        Raises:
            UserError: the options allow no mask of this size.
        """

    def fingerprint(self) -> str:
        """Identify the files that the masks depend on; empty for sources that read none.

        The default joins the fingerprints of the sources that this source holds as options.
        """
        options = vars(self).values()
        sources = [item for option in options for item in (option if isinstance(option, tuple) else (option,))]
        return "".join(source.fingerprint() for source in sources if isinstance(source, MaskSource))

    def evaluation_masks(self) -> tuple[MaskSource, ...]:
        """Return the sources that the evaluation uses where `data.val_masks` is null and this source draws the training masks.

        Empty where no evaluation masks belong to this source.
        """
        return ()

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw the mask of `__call__` as (H, W) uint8, the form in which composed sources process masks."""
        drawn: NDArray[np.uint8] = self(size, rng)[0].numpy().astype(np.uint8)
        return drawn


class NumpyMaskSource(MaskSource):
    """Base class of sources that draw on uint8 arrays: a quarter of a float mask's memory, about four times as fast."""

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """Draw one mask (1, H, W), 1 = hole; raises what `sample_uint8` raises."""
        return torch.from_numpy(self.sample_uint8(size, rng)[None].astype(np.float32))

    @abstractmethod
    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask as a new (H, W) uint8 array, exactly 0 or 1, 1 = hole."""


def python_rng(rng: torch.Generator) -> random.Random:
    """Python's generator, seeded by one draw from `rng`.

    A source needs a few scalars of several distributions. Python draws them about ten times faster than torch draws one tensor
    per scalar. Its arithmetic is not vectorized: the last digit of a vectorized result, and so a truncated pixel coordinate,
    may differ between two machines.
    """
    return random.Random(int(torch.randint(2**63 - 1, (), generator=rng, device=rng.device)))


def randint(py_rng: random.Random, low: int, high: int) -> int:
    """Draw what `py_rng.randint(low, high)` draws, from the same random bits, in half its time."""
    count = high - low + 1
    bits = count.bit_length()
    drawn = py_rng.getrandbits(bits)
    while drawn >= count:
        drawn = py_rng.getrandbits(bits)
    return low + drawn


def random_bits(py_rng: random.Random, count: int) -> NDArray[np.uint8]:
    """Draw (count,) uint8, 0 or 1 with equal probability; each random bit is used, so whole arrays are cheap."""
    return np.unpackbits(np.frombuffer(py_rng.randbytes(-(-count // 8)), np.uint8), count=count)


def fingerprint_of(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 of the files' paths below `folder` and of their sizes; 64 hexadecimal digits."""
    content = hashlib.sha256()
    for file in files:
        content.update(os.fsencode(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0"))
    return content.hexdigest()


def mask_ratio(mask: Tensor) -> Tensor:
    """Mask ratio: the fraction of pixels that are hole, for each mask.

    Args:
        mask: (..., 1, H, W), exactly 0 or 1, 1 = hole.

    Returns:
        (...) float64 in [0, 1]: exact, so that a ratio on the bound of a bucket falls on the same side on every machine.
    """
    return mask.mean(dim=(-3, -2, -1), dtype=torch.float64)


def require_range(option: str, values: tuple[float, float], minimum: float, maximum: float = math.inf) -> None:
    """Check that `values` is a (min, max) pair within [minimum, maximum].

    Raises:
        UserError: naming the option and its value.
    """
    low, high = values
    if not minimum <= low <= high <= maximum:
        bounds = f"within [{minimum}, {maximum}]" if maximum < math.inf else f"of at least {minimum}"
        raise UserError(f"{option} is ({low}, {high}); expected (min, max) {bounds}")
