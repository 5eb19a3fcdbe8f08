"""Blobs from a cellular automaton, as in the AIM 2020 challenge on extreme inpainting."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, random_bits, require_range

_MAX_DRAWS = 100
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@dataclass(frozen=True)
class CellularAutomaton(NumpyMaskSource):
    """Random noise smoothed by rounds of a 3x3 majority filter (DeepGIN, section 5.1).

    The numbers are those of the public code (rlct1/gin @cfcef5d). It starts from a grid of random bits and applies 2 to 6
    rounds of a 3x3 median, with zeros outside the grid. Each cell is enlarged to 1, 2, 4 or 8 pixels; enlarged cells are
    dilated by one pixel to their four sides. At 256x256 the mean mask ratio is about 50 %.

    Args:
        scales: sides of a cell in pixels, one of which is drawn.
        rounds: min and max number of rounds.
    """

    scales: tuple[int, ...] = (1, 2, 4, 8)
    rounds: tuple[int, int] = (2, 6)

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) < 1:
            raise UserError(f"CellularAutomaton.scales is {self.scales}; expected one or more sides of at least 1 pixel")
        require_range("CellularAutomaton.rounds", self.rounds, minimum=0)

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole, never empty.

        Raises:
            UserError: 100 masks in a row are empty, which happens in images of a few pixels.
        """
        for _ in range(_MAX_DRAWS):
            py_rng = python_rng(rng)
            scale, rounds = py_rng.choice(self.scales), py_rng.randint(*self.rounds)
            cells = _evolve(-(-size[0] // scale), -(-size[1] // scale), rounds, py_rng)
            if np.count_nonzero(cells):  # several times faster than any()
                return _enlarge(cells, scale, size)
        raise UserError(f"CellularAutomaton leaves no hole in images of {size[1]}x{size[0]}; use larger ones or fewer rounds")


def _evolve(rows: int, columns: int, rounds: int, py_rng: Random) -> NDArray[np.uint8]:
    # A ring of zeros surrounds the grid. It stays zero: OpenCV repeats it outward, and a cell of the ring has at most three
    # neighbors inside, which the other six outnumber.
    padded = np.zeros((rows + 2, columns + 2), np.uint8)
    padded[1:-1, 1:-1] = random_bits(py_rng, rows * columns).reshape(rows, columns)
    for _ in range(rounds):
        padded = np.asarray(cv2.medianBlur(padded, 3), np.uint8)
    return padded[1:-1, 1:-1].copy()


def _enlarge(cells: NDArray[np.uint8], scale: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Enlarge each cell to a square of `scale` pixels, dilated by one pixel to its four sides where `scale` exceeds 1."""
    if scale == 1:
        return cells
    # Copying whole rows is about ten times faster than copying single cells.
    enlarged = cv2.transpose(cv2.transpose(cells).repeat(scale, axis=0)).repeat(scale, axis=0)
    return np.asarray(cv2.dilate(enlarged[: size[0], : size[1]], _CROSS), np.uint8)
