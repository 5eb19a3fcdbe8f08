"""Blobs grown by a cellular automaton, as in the AIM 2020 challenge on extreme inpainting."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, random_bits, require_range

_MOST_DRAWS = 100
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@dataclass(frozen=True)
class CellularAutomaton(NumpyMaskSource):
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

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole, never empty.

        Raises:
            UserError: on an image of a few pixels nothing survives the rounds.
        """
        for _ in range(_MOST_DRAWS):
            chance = python_rng(rng)
            scale, rounds = chance.choice(self.scales), chance.randint(*self.rounds)
            cells = _grow(-(-size[0] // scale), -(-size[1] // scale), rounds, chance)
            if np.count_nonzero(cells):  # several times faster than any()
                return _enlarge(cells, scale, size)
        raise UserError(f"CellularAutomaton leaves no hole in images of {size[1]}x{size[0]}; take larger ones or fewer rounds")


def _grow(rows: int, columns: int, rounds: int, chance: Random) -> NDArray[np.uint8]:
    """Noise on a grid, after some rounds of the automaton."""
    # Nothing lives around the grid. The ring stays empty by itself: OpenCV continues it outwards, and a cell of it has three
    # neighbours inside at most, whom the others outvote.
    ringed = np.zeros((rows + 2, columns + 2), np.uint8)
    ringed[1:-1, 1:-1] = random_bits(chance, rows * columns).reshape(rows, columns)
    for _ in range(rounds):
        ringed = np.asarray(cv2.medianBlur(ringed, 3), np.uint8)
    return ringed[1:-1, 1:-1].copy()


def _enlarge(cells: NDArray[np.uint8], scale: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Each cell as a square of pixels, and one pixel more to its four sides if it is larger than a pixel."""
    if scale == 1:
        return cells
    # Whole rows are copied some ten times faster than single cells.
    enlarged = cv2.transpose(cv2.transpose(cells).repeat(scale, axis=0)).repeat(scale, axis=0)
    return np.asarray(cv2.dilate(enlarged[: size[0], : size[1]], _CROSS), np.uint8)
