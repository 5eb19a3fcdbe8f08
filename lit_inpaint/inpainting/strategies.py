"""Fill the holes of an image of any size: whole, in tiles, or in crops around the holes, coarse to fine.

Networks are trained on crops of one size. On larger images they still fill small holes well, at full resolution, if they see
enough of their surroundings. A hole that is wide for the trained size is filled first in a reduced image, where it is narrow.
Its middle is then enlarged, and the network fills the rest, a band along the hole's border, at full resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.evaluation.baselines import ClassicalMethod
from lit_inpaint.inpainting.hole_groups import HoleGroup, Mask, Window, expand, group_holes, tile, windows_around

Strategy = Literal["crop", "tiles", "whole"]
DEFAULT_SIZE = 256
"""Assumed size of the training images where a checkpoint does not record it, in pixels."""
MIN_SIZE = 8
"""Smallest side of training images for which windows can overlap."""
_BAND = 1 / 8
"""Width of the band along a hole's border that is filled at full resolution, relative to the trained size."""
_MIN_WEIGHT = 1e-3
"""Weight of a window at its own edge, relative to its inside."""
_ROWS_AT_ONCE = 1024
"""Rows that are reduced at once, which bounds the memory."""


@dataclass(frozen=True)
class Filler:
    """Fill holes by one method and one strategy.

    Args:
        method: a paper, or a classical method.
        strategy: "crop" fills crops around groups of holes, and wide holes coarse to fine. "tiles" fills overlapping tiles of
            the trained size at full resolution. "whole" gives the image to the method at once, whatever memory that takes.
        size: side of the training images in pixels.
        coarse_to_fine: whether "crop" fills holes wider than a quarter of `size` in a reduced image first.
        device: of the method.
        blending: see `Inpainter.complete`; None for classical methods.
    """

    method: Inpainter | ClassicalMethod
    strategy: Strategy = "crop"
    size: int = DEFAULT_SIZE
    coarse_to_fine: bool = True
    device: torch.device | str = "cpu"
    blending: Literal["none", "poisson"] | None = None

    def __post_init__(self) -> None:
        check_strategy(self.strategy)

    def fill(self, pixels: NDArray[Any], white: float, hole: Mask, edges: Mask | None = None) -> None:
        """Fill the holes in place; other pixels are not written.

        Args:
            pixels: (H, W, 3) or (H, W, 1) of any real type; what the holes hold is ignored.
            white: value of white; black is 0.
            hole: (H, W).
            edges: (H, W), edges to draw in the holes, for papers that take edges; None: the paper's own.
        """
        _Level(self, pixels, white, hole, edges).fill()

    def complete(self, image: Tensor, mask: Tensor, edges: Tensor | None) -> Tensor:
        """Complete one image or window by the method; see `Inpainter.complete`."""
        if isinstance(self.method, Inpainter):
            return self.method.complete(image, mask, edges, self.blending)
        return self.method.complete(image, mask)


def check_strategy(name: str) -> None:
    """Raise a `UserError` unless this is the name of a strategy."""
    known = get_args(Strategy)
    if name not in known:
        raise UserError(f"--strategy: there is no {name!r}{did_you_mean(name, known, show_all=True)}")


@dataclass(frozen=True)
class _Level:
    """An image at one resolution, with its holes."""

    filler: Filler
    pixels: NDArray[Any]
    white: float
    hole: Mask
    edges: Mask | None

    def fill(self) -> None:
        """Fill all holes."""
        side, shape = self.filler.size, self.hole.shape
        if self.filler.strategy == "whole":
            self._fill_windows([Window(0, shape[0], 0, shape[1])], self.hole, self.hole, 1)
        elif self.filler.strategy == "tiles":
            self._fill_windows(list(tile(shape, side)), self.hole, self.hole, side // 4)
        else:
            self._fill_crops()

    def _fill_crops(self) -> None:
        side, shape = self.filler.size, self.hole.shape
        unknown = self.hole
        if self.filler.coarse_to_fine and max(shape) > side:
            unknown = self.hole.copy()
            for group in group_holes(self.hole, side // 4, side):
                self._fill_middle(group, unknown)
        for group in group_holes(unknown, side // 4, side):
            target = np.zeros(shape, bool)
            target[group.box.slices] = group.pixels
            self._fill_windows(list(windows_around(group.box, shape, side)), unknown, target, side // 2)

    def _fill_middle(self, group: HoleGroup, unknown: Mask) -> None:
        """Fill what is far from the border of wide holes from the reduced image; it is no hole for this level then."""
        side, shape = self.filler.size, self.hole.shape
        around = expand(group.box, 1, shape)
        inside = np.ascontiguousarray(self.hole[around.slices]).view(np.uint8)
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        inner = (slice(group.box.top - around.top, None), slice(group.box.left - around.left, None))
        height, width = group.box.shape
        deep = (distance[inner][:height, :width] > _BAND * side) & group.pixels
        if not deep.any():
            return
        wide = expand(group.box, side, shape)
        wide = Window(wide.top - wide.top % 2, wide.bottom, wide.left - wide.left % 2, wide.right)
        coarse = self._reduce(wide)
        coarse.fill()
        resized = cv2.resize(coarse.pixels, wide.shape[::-1], interpolation=cv2.INTER_CUBIC)
        enlarged = np.asarray(resized, np.float32).reshape(*wide.shape, -1)
        rows, columns = np.nonzero(deep)
        rows, columns = rows + group.box.top, columns + group.box.left
        self.pixels[rows, columns] = self._encode(enlarged[rows - wide.top, columns - wide.left])
        unknown[rows, columns] = False

    def _fill_windows(self, windows: list[Window], unknown: Mask, target: Mask, overlap: int) -> None:
        """Fill the pixels of `target` by the mean of all windows on them, weighted by the distance from the windows' edges.

        The windows form a grid and come row by row. Only sums for one row of windows are kept, which bounds the memory.
        """
        left, right = windows[0].left, windows[-1].right
        rows = [list(row) for _, row in groupby(windows, key=lambda window: window.top)]
        sums = np.zeros((0, 0, 0), np.float32)
        for row, following in zip_longest(rows, rows[1:]):
            top, bottom = row[0].top, row[0].bottom
            carried, sums = sums, np.zeros((bottom - top, right - left, self.pixels.shape[-1] + 1), np.float32)
            sums[: len(carried)] = carried.reshape(-1, *sums.shape[1:])
            for window in row:
                if target[window.slices].any():
                    weight = _weights(window, self.hole.shape, overlap)[..., None]
                    part = sums[:, window.left - left : window.right - left]
                    part[..., :-1] += weight * self._complete(window, unknown)
                    part[..., -1:] += weight
            done = following[0].top if following else bottom
            write = target[top:done, left:right]
            means = sums[: done - top][write]
            self.pixels[top:done, left:right][write] = self._encode(means[:, :-1] / means[:, -1:])
            sums = sums[done - top :]

    def _complete(self, window: Window, unknown: Mask) -> NDArray[np.float32]:
        """Return the completed window, (h, w, C) in [0, 1]."""
        part, channels = window.slices, self.pixels.shape[-1]
        hole = unknown[part]
        values = self.pixels[part].astype(np.float32) / self.white
        values[hole] = 0  # they may be NaN
        device = self.filler.device
        image = torch.from_numpy(values).permute(2, 0, 1)[None].expand(-1, 3, -1, -1).to(device)
        mask = torch.from_numpy(hole.astype(np.float32))[None, None].to(device)
        edges = None if self.edges is None else torch.from_numpy(self.edges[part].astype(np.float32))[None, None].to(device)
        completed = self.filler.complete(image, mask, edges)[0].permute(1, 2, 0).float().cpu().numpy()
        return completed if channels == 3 else completed.mean(axis=-1, keepdims=True)

    def _encode(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Return values in [0, 1] as pixels."""
        scaled = np.clip(values, 0, 1) * self.white
        if self.pixels.dtype.kind != "f":
            scaled = scaled.round()
        result: NDArray[Any] = scaled.astype(self.pixels.dtype)
        return result

    def _reduce(self, window: Window) -> _Level:
        """Return a window at half the resolution: means of the known pixels, a hole where fewer than half are known."""
        height, width = (-(-side // 2) for side in window.shape)
        pixels, hole = np.zeros((height, width, self.pixels.shape[-1]), np.float32), np.zeros((height, width), bool)
        for start in range(0, window.shape[0], _ROWS_AT_ONCE):
            rows = slice(window.top + start, min(window.top + start + _ROWS_AT_ONCE, window.bottom))
            known = ~self.hole[rows, window.left : window.right]
            values = self.pixels[rows, window.left : window.right].astype(np.float32) / self.white
            values[~known] = 0
            count, total = _sum_of_four(known[..., None].astype(np.float32)), _sum_of_four(values)
            block = slice(start // 2, start // 2 + len(count))
            pixels[block] = total / np.maximum(count, 1)
            hole[block] = count[..., 0] < 2
        edges = (
            None if self.edges is None else _sum_of_four(self.edges[window.slices][..., None].astype(np.float32))[..., 0] > 0
        )
        return _Level(self.filler, pixels, 1, hole, edges)


def _sum_of_four(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sums over 2x2 pixels of (H, W, C); an odd last row or column is repeated."""
    odd = [(0, side % 2) for side in values.shape[:2]]
    if odd != [(0, 0), (0, 0)]:
        values = np.pad(values, [*odd, (0, 0)], mode="edge")
    rows = values[::2] + values[1::2]
    result: NDArray[np.float32] = rows[:, ::2] + rows[:, 1::2]
    return result


def _weights(window: Window, shape: tuple[int, int], overlap: int) -> NDArray[np.float32]:
    """Return weights (h, w) of a window's pixels: small at its edges, but not at those of the image, and 1 inside."""
    ramps = []
    for low, high, limit in zip(window[::2], window[1::2], shape, strict=True):
        places = np.arange(low, high) + 0.5
        distance = np.minimum(places - low if low > 0 else np.inf, high - places if high < limit else np.inf)
        ramp = np.clip((distance - overlap / 4) / (overlap / 2), _MIN_WEIGHT, 1) * np.ones(high - low)
        ramps.append(ramp.astype(np.float32))
    weights: NDArray[np.float32] = np.multiply.outer(*ramps)
    return weights
