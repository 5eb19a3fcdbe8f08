"""The track of a random walk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource

_WORD = 4  # steps that one random byte decides, two bits each
_GROUP = 4  # words between two reflections at the borders
_REACH = _WORD * _GROUP  # steps of a group, and so its largest distance from where it starts
_CHUNK = 2**18  # steps per iteration, a multiple of _REACH
_KEPT_TRACKS = 2**12  # of one process; the least recently used one beyond them is drawn again when it is needed


@dataclass(frozen=True)
class RandomWalk(NumpyMaskSource):
    """All pixels that a random walk visits (naoto0804/pytorch-inpainting-with-partial-conv@8d64e7e).

    The walk starts at a uniform position of a square canvas. It makes as many steps as the canvas has pixels, each of one pixel
    up, down, left or right; steps across the border are not made. The track is then resized to the image by nearest pixels, so
    that the mean mask ratio is 19 % in images of any size.

    Args:
        canvas: side of the canvas in pixels.
        steps: number of steps; null takes canvas x canvas.
        tracks: number of different walks, each from any start and flipped or not; null draws a new walk for each mask. Kept
            walks give masks ten times as fast, and take canvas x canvas / 2 bytes each in every loader process. Single masks
            have the same distribution, but with 1,000 walks two masks show the same walk once in 1,000 pairs. (The public
            code trains on 10,000 files of masks.)
    """

    canvas: int = 512
    steps: int | None = None
    tracks: int | None = None

    def __post_init__(self) -> None:
        if self.canvas < 1:
            raise UserError(f"RandomWalk.canvas is {self.canvas}; expected a side of at least 1 pixel")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"RandomWalk.steps is {self.steps}; expected at least 1 step, or null")
        if self.tracks is not None and self.tracks < 1:
            raise UserError(f"RandomWalk.tracks is {self.tracks}; expected at least 1 track, or null")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole; it may be empty where resizing to a small image skips a short track."""
        side = self.canvas
        steps = side**2 if self.steps is None else self.steps
        drawn = int(torch.randint(2**63 - 1, (), generator=rng, device=rng.device))
        if self.tracks is not None:
            drawn, number = divmod(drawn, self.tracks)
            y, x = divmod(drawn % (2 * side) ** 2, 2 * side)
            return _place(_periodic_track(side, steps, number), x, y, size)
        random = np.random.SFC64(drawn)
        position = [int(random.random_raw()) % side for _ in range(2)]
        grid = _draw(random, position, steps, side, reflect=True)
        track = _fold_margins(_fold_margins(grid).T).T
        return np.asarray(cv2.resize(track, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


@lru_cache(_KEPT_TRACKS)
def _periodic_track(side: int, steps: int, number: int) -> NDArray[np.uint8]:
    """Draw walk `number` without borders, from the origin.

    Returns:
        Positions visited, modulo 2 x side: (2 x side, 2 x side / 8) packed bits, of x, then of y.
    """
    period = 2 * side
    repeats = math.ceil(_REACH / period)  # the margins must not be wider than the canvas between them
    random = np.random.SFC64(np.random.SeedSequence([number, side]))
    grid = _draw(random, [0, 0], steps, repeats * period, reflect=False)
    whole = _wrap_margins(_wrap_margins(grid).T)
    folded = np.bitwise_or.reduce(whole.reshape(repeats, period, repeats, period), axis=(0, 2))
    return np.ascontiguousarray(np.packbits(folded, axis=1))


def _place(track: NDArray[np.uint8], x: int, y: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Move a packed track by x and y of 2 x side pixels, reflect it at the borders of the canvas, and resize it to (H, W)."""
    period = len(track)
    columns, rows = ((_pixels(period // 2, length) - moved) % period for length, moved in ((size[1], x), (size[0], y)))
    by_column = np.unpackbits(track.take(columns[0], axis=0) | track.take(columns[1], axis=0), axis=1, count=period)
    by_row = np.asarray(cv2.transpose(by_column), np.uint8)
    mask: NDArray[np.uint8] = by_row.take(rows[0], axis=0) | by_row.take(rows[1], axis=0)
    return mask


@lru_cache(64)
def _pixels(side: int, length: int) -> NDArray[np.int64]:
    """Return the canvas pixel that each resized pixel shows (cv2.INTER_NEAREST_EXACT), and its reflection, (2, length)."""
    nearest = (2 * np.arange(length) + 1) * side // (2 * length)
    return np.stack([nearest, 2 * side - 1 - nearest])


def _draw(random: np.random.SFC64, position: list[int], steps: int, side: int, *, reflect: bool) -> NDArray[np.uint8]:
    """Mark the positions of a random walk on a canvas with its margins, (side + 2 x _REACH, side + 2 x _REACH)."""
    grid = torch.zeros((side + 2 * _REACH,) * 2, dtype=torch.uint8)
    for done in range(0, steps, _CHUNK):
        chunk = min(_CHUNK, steps - done)
        groups = math.ceil(chunk / _REACH)
        drawn = np.asarray(random.random_raw(math.ceil(groups * _GROUP / 8)), np.dtype("<u8"))  # equal on all machines
        words = drawn.view(np.uint8)[: groups * _GROUP].reshape(_GROUP, groups)
        position = _walk(position, words, chunk, grid, reflect=reflect)
    return grid.numpy()


def _displacements() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Displacement along x and along y after 1 to _WORD steps, (_WORD, 256) each, for each random byte."""
    moves = np.arange(256) >> 2 * np.arange(_WORD)[:, None] & 3
    return np.array([1, -1, 0, 0])[moves].cumsum(axis=0), np.array([0, 0, 1, -1])[moves].cumsum(axis=0)


_ALONG_X, _ALONG_Y = _displacements()
# Of whole words: x in the lower byte, y in the upper one, both raised by _WORD so that sums over a group are not negative.
_ALONG_BOTH = (_ALONG_X[-1] + _WORD + (_ALONG_Y[-1] + _WORD) * 256).astype(np.uint16)


def _walk(position: list[int], words: NDArray[np.uint8], steps: int, grid: torch.Tensor, *, reflect: bool = True) -> list[int]:
    """Mark the positions after each step of a walk between borders.

    It is a walk without borders, reflected at them: position -1 maps to 0, -2 to 1. On a reflected interval a move has the
    opposite sign, which has the same probability. So this is a walk whose steps across a border are not made. Cumulative sums
    give the position at the start of each group; tables give the others from there, so they may lie in the margins.

    Args:
        position: unreflected (x, y); the pattern repeats every 2 x side.
        words: (_GROUP, groups), in the order of the second axis, then of the first: four moves of two bits each. The upper bit
            is the axis, the lower one the direction.
        steps: number of steps; the last group may have fewer than _REACH.
        grid: (side + 2 x _REACH, side + 2 x _REACH), the canvas with its margins; visited positions become 1.
        reflect: at the borders; if false, a walk that leaves the canvas enters it on the opposite side.

    Returns:
        The unreflected position after the last group, from which the walk continues.
    """
    width, groups = len(grid), words.shape[1]
    side = width - 2 * _REACH
    period = 2 * side if reflect else side
    moved = _lookup(_ALONG_BOTH, words).sum(axis=0, dtype=np.uint16)
    starts = np.empty((_GROUP + 1, groups), np.int64)
    starts[0] = _REACH * (width + 1)
    last = []
    for axis, displacements in enumerate((moved & 255, moved >> 8)):
        walk = np.empty(groups + 1, np.int32)
        walk[0] = position[axis]
        np.subtract(displacements, _REACH, out=walk[1:], dtype=np.int32)
        np.cumsum(walk, out=walk)
        walk -= walk // period * period  # several times faster than the remainder
        last.append(int(walk[-1]))
        if not reflect:
            starts[0] += walk[:-1] * np.int32(width**axis)
            continue
        reflected = np.negative((walk[:-1] >= side).view(np.int8)).view(np.uint8)  # 0 or 255
        starts[0] += np.minimum(walk[:-1], 2 * side - 1 - walk[:-1]) * np.int32(width**axis)
        along_axis = (words if axis else ~words) >> 1 & 0b01010101
        words = np.asarray(words ^ (along_axis & reflected), np.uint8)
    offsets = _ALONG_X + _ALONG_Y * width
    for row in range(_GROUP):
        np.add(starts[row], _lookup(offsets[-1], words[row]), out=starts[row + 1])
    ones = torch.ones(words.size, dtype=torch.uint8)
    for step in range(1, _WORD + 1):
        if step < _WORD:
            visited = _lookup(offsets[step - 1], words)
            visited += starts[:-1]
        else:
            visited = starts[1:]
        if step == 1:
            a_visited_position = visited[0, -1]
        words_of_last_group = max(0, (steps - (groups - 1) * _REACH - step) // _WORD + 1)
        visited[words_of_last_group:, -1] = a_visited_position  # in place of steps beyond the last one
        grid.view(-1).scatter_(0, torch.from_numpy(visited.reshape(-1)), ones)  # half the time of NumPy's assignment
    return last


def _lookup(table: NDArray[Any], words: NDArray[np.uint8]) -> NDArray[Any]:
    """Equal `table[words]`, in half the time; OpenCV has no tables of int64, but copies numbers of that size unchanged."""
    if table.dtype == np.int64:
        return np.asarray(cv2.LUT(words, table.view(np.float64))).view(np.int64).reshape(words.shape)
    return np.asarray(cv2.LUT(words, table)).reshape(words.shape)


def _fold_margins(grid: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reflect the first and last _REACH rows of `grid` at the borders of the rows between them, and return those."""
    side = len(grid) - 2 * _REACH
    for _ in range(math.ceil(_REACH / side)):  # more than once where margins reach across the canvas
        grid[_REACH : 2 * _REACH] |= grid[_REACH - 1 :: -1]
        grid[-2 * _REACH : -_REACH] |= grid[: -_REACH - 1 : -1]
    return grid[_REACH:-_REACH]


def _wrap_margins(grid: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add the first and last _REACH rows of `grid` to the opposite side of the rows between them, and return those."""
    grid[_REACH : 2 * _REACH] |= grid[-_REACH:]
    grid[-2 * _REACH : -_REACH] |= grid[:_REACH]
    return grid[_REACH:-_REACH]
