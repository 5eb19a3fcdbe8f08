"""Blobs grown by a cellular automaton, as in the AIM 2020 challenge on extreme inpainting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.masks.base import MaskSource, dice, require_range
from lit_inpaint.types import UserError

_MOST_DRAWS = 100


@dataclass(frozen=True)
class CellularAutomaton(MaskSource):
    """Noise in which each cell again and again takes the value that most of its neighbourhood has (DeepGIN, section 5.1).

    The numbers are those of the public code (rlct1/gin @cfcef5d): a grid of fair coins, 2 to 6 rounds of a 3x3 median in which
    nothing lives outside the grid, each cell enlarged to 1, 2, 4 or 8 pixels, and, if enlarged, grown by one pixel to its four
    sides. At 256x256 about half of the image is lost.

    Args:
        scales: sides of a cell in pixels, one of which is chosen.
        rounds: fewest and most rounds.
    """

    scales: tuple[int, ...] = (1, 2, 4, 8)
    rounds: tuple[int, int] = (2, 6)

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) < 1:
            raise UserError(f"CellularAutomaton.scales is {self.scales}; it takes one or more sides of 1 pixel or more")
        require_range("CellularAutomaton.rounds", self.rounds, least=0)

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """One mask (1, H, W), 1 = hole, never empty.

        Raises:
            UserError: on an image of a few pixels nothing survives the rounds.
        """
        for _ in range(_MOST_DRAWS):
            pixels = self._grow(size, rng)
            if pixels.any():
                return torch.from_numpy(pixels).float()[None]
        raise UserError(f"CellularAutomaton leaves no hole in images of {size[1]}x{size[0]}; take larger ones or fewer rounds")

    def _grow(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        chance = dice(rng)
        scale, rounds = chance.choice(self.scales), chance.randint(*self.rounds)
        rows, columns = (-(-side // scale) for side in size)
        cells = torch.randint(2, (rows, columns), dtype=torch.uint8, generator=rng).numpy()
        for _ in range(rounds):
            cells = (_with_neighbours(cells) >= 5).astype(np.uint8)  # the median of nine bits
        pixels = cells.repeat(scale, axis=0).repeat(scale, axis=1)[: size[0], : size[1]]
        return _grown(pixels) if scale > 1 else pixels


def _with_neighbours(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How many of a cell and its eight neighbours are 1."""
    ringed = np.pad(cells, 1)
    across = ringed[:, :-2] + ringed[:, 1:-1] + ringed[:, 2:]
    total: NDArray[np.uint8] = across[:-2] + across[1:-1] + across[2:]
    return total


def _grown(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each 1 spreads to its four neighbours."""
    grown = pixels.copy()
    grown[1:] |= pixels[:-1]
    grown[:-1] |= pixels[1:]
    grown[:, 1:] |= pixels[:, :-1]
    grown[:, :-1] |= pixels[:, 1:]
    return grown
