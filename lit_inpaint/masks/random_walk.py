"""The track of a random walk."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, random_bits

_PIECE = 2**16  # steps at a time: their arrays stay in the processor's cache


@dataclass(frozen=True)
class RandomWalk(NumpyMaskSource):
    """Each pixel that a walk has visited (naoto0804/pytorch-inpainting-with-partial-conv@8d64e7e).

    The walk starts anywhere on a square canvas and goes one pixel up, down, left or right at a time, as often as the canvas has
    pixels; a step over the border is not made. The track is then scaled to the image's size by nearest pixels, so that images
    of any size lose the same share: 19 % on average.

    Args:
        canvas: side of the canvas in pixels.
        steps: how many steps; null takes canvas x canvas.
    """

    canvas: int = 512
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.canvas < 1:
            raise UserError(f"RandomWalk.canvas is {self.canvas}; it takes a side of at least 1 pixel")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"RandomWalk.steps is {self.steps}; it takes at least 1 step, or null")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole; it may be empty where a short track, or a tiny image, is lost in the scaling."""
        side = self.canvas
        steps = side**2 if self.steps is None else self.steps
        chance = python_rng(rng)
        x, y = chance.randrange(side), chance.randrange(side)
        track = np.zeros(side**2, np.uint8)
        for made in range(0, steps, _PIECE):
            piece = min(_PIECE, steps - made)
            along, forward = random_bits(chance, 2 * piece).reshape(2, piece).view(np.int8)
            move = 2 * forward - 1
            columns, x = _walk(x, move * along, side)
            rows, y = _walk(y, move * (1 - along), side)
            track[rows * side + columns] = 1
        return np.asarray(cv2.resize(track.reshape(side, side), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _walk(start: int, moves: NDArray[np.int8], side: int) -> tuple[NDArray[np.int32], int]:
    """A walk between two borders along one axis.

    It is a walk without borders, folded back at them like a strip of paper: position -1 lies on 0, -2 on 1. Where the strip
    runs backwards a move has the other sign, which is as likely, so this is a walk whose steps over a border are not made, at
    the cost of a running sum.

    Args:
        start: position on the strip, whose pattern repeats every 2 x `side`.
        moves: -1, 0 or 1.
        side: positions between the borders.

    Returns:
        The position after each move, 0 to side - 1; and the last one on the strip, from which the walk goes on.
    """
    strip = np.cumsum(moves, dtype=np.int32)
    strip += start
    strip %= 2 * side
    return np.minimum(strip, 2 * side - 1 - strip), int(strip[-1])
