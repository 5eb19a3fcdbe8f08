"""The track of a random walk."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, python_rng, random_bits

_CHUNK = 2**16  # steps per iteration: arrays of this size stay in the processor's cache


@dataclass(frozen=True)
class RandomWalk(NumpyMaskSource):
    """All pixels that a random walk visits (naoto0804/pytorch-inpainting-with-partial-conv@8d64e7e).

    The walk starts at a uniform position of a square canvas. It makes as many steps as the canvas has pixels, each of one pixel
    up, down, left or right; steps across the border are not made. The track is then resized to the image by nearest pixels, so
    that the mean mask ratio is 19 % in images of any size.

    Args:
        canvas: side of the canvas in pixels.
        steps: number of steps; null takes canvas x canvas.
    """

    canvas: int = 512
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.canvas < 1:
            raise UserError(f"RandomWalk.canvas is {self.canvas}; expected a side of at least 1 pixel")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"RandomWalk.steps is {self.steps}; expected at least 1 step, or null")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole; it may be empty where resizing to a small image skips a short track."""
        side = self.canvas
        steps = side**2 if self.steps is None else self.steps
        py_rng = python_rng(rng)
        x, y = py_rng.randrange(side), py_rng.randrange(side)
        track = np.zeros(side**2, np.uint8)
        for done in range(0, steps, _CHUNK):
            chunk = min(_CHUNK, steps - done)
            horizontal, forward = random_bits(py_rng, 2 * chunk).reshape(2, chunk).view(np.int8)
            move = 2 * forward - 1
            columns, x = _walk(x, move * horizontal, side)
            rows, y = _walk(y, move * (1 - horizontal), side)
            track[rows * side + columns] = 1
        return np.asarray(cv2.resize(track.reshape(side, side), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _walk(start: int, moves: NDArray[np.int8], side: int) -> tuple[NDArray[np.int32], int]:
    """Compute a walk between two borders along one axis, at the cost of a cumulative sum.

    It is a walk without borders, reflected at them: position -1 maps to 0, -2 to 1. On a reflected interval a move has the
    opposite sign, which has the same probability. So this is a walk whose steps across a border are not made.

    Args:
        start: unreflected position; the pattern repeats every 2 x `side`.
        moves: -1, 0 or 1.
        side: number of positions between the borders.

    Returns:
        The position after each move, 0 to side - 1; and the last unreflected position, from which the walk continues.
    """
    unreflected = np.cumsum(moves, dtype=np.int32)
    unreflected += start
    unreflected %= 2 * side
    return np.minimum(unreflected, 2 * side - 1 - unreflected), int(unreflected[-1])
