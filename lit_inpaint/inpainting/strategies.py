"""Fill the holes of an image of any size: whole, in tiles, or in crops around the holes, coarse to fine.

Networks are trained on crops of one size. On larger images they still fill small holes well, at full resolution, if they see
enough of their surroundings. A hole that is wide for the trained size is filled first in a reduced image, where it is narrow.
Its middle is then enlarged, and the network fills the rest, a band along the hole's border, at full resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.evaluation.baselines import ClassicalMethod
from lit_inpaint.inpainting.hole_groups import Mask, Window, expand, group_holes, tile, windows_around

Strategy = Literal["crop", "tiles", "whole"]
DEFAULT_SIZE = 256
"""Assumed size of the training images where a checkpoint does not record it, in pixels."""
_WHOLE_BLOCK = 1024
"""Rows that are reduced at once, which bounds the memory."""


@dataclass(frozen=True)
class Filler:
    """Fill holes by one method and one strategy.

    Args:
        method: a paper, or a classical method.
        strategy: "crop" fills crops around groups of holes, and wide holes coarse to fine. "tiles" fills overlapping tiles of
            the trained size at full resolution. "whole" gives the image to the method at once, whatever memory that takes.
        size: side of the training images in pixels.
        coarse_to_fine: whether "crop" fills holes wider than half of `size` in a reduced image first.
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
        _Level(self, pixels, white, hole, edges).fill(hole.copy())

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

    def fill(self, target: Mask) -> None:
        """Fill the pixels of `target`, a part of the holes; changes `target`."""
        side, shape = self.filler.size, self.hole.shape
        if self.filler.strategy == "whole":
            self._fill_windows([Window(0, shape[0], 0, shape[1])], self.hole, target, 1)
        elif self.filler.strategy == "tiles":
            self._fill_windows(tile(shape, side), self.hole, target, side // 4)
        else:
            self._fill_crops(target)

    def _fill_crops(self, target: Mask) -> None:
        side, shape = self.filler.size, self.hole.shape
        boxes = group_holes(target, side // 4, side)
        unknown = self.hole
        if self.filler.coarse_to_fine and max(shape) > side:
            unknown = self.hole.copy()
            for box in boxes:
                self._fill_middle(box, target, unknown)
        for box in boxes:
            inside = np.zeros_like(target)
            inside[box.slices] = target[box.slices]
            self._fill_windows(windows_around(box, shape, side), unknown, inside, side // 2)

    def _fill_middle(self, box: Window, target: Mask, unknown: Mask) -> None:
        """Fill what is far from the border of wide holes from the reduced image; it is no hole for this level then."""
        side, shape = self.filler.size, self.hole.shape
        around = expand(box, 1, shape)
        inside = np.ascontiguousarray(self.hole[around.slices]).view(np.uint8)
        deep = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > side / 4
        deep &= target[around.slices]
        if not deep.any():
            return
        wide = expand(box, side, shape)
        wide = Window(wide.top - wide.top % 2, wide.bottom, wide.left - wide.left % 2, wide.right)
        coarse = self._reduce(wide)
        coarse.fill(coarse.hole.copy())
        enlarged = cv2.resize(coarse.pixels, wide.shape[::-1], interpolation=cv2.INTER_CUBIC)
        enlarged = enlarged.reshape(*wide.shape, -1)
        rows, columns = np.nonzero(deep)
        rows, columns = rows + around.top, columns + around.left
        self.pixels[rows, columns] = self._encode(enlarged[rows - wide.top, columns - wide.left])
        target[rows, columns] = unknown[rows, columns] = False

    def _fill_windows(self, windows: Any, unknown: Mask, target: Mask, overlap: int) -> None:
        """Fill the pixels of `target` window by window; where windows overlap, the later one is faded in."""
        done = np.zeros_like(target)
        for window in windows:
            part = window.slices
            write = target[part]
            if not write.any():
                continue
            filled = self._complete(window, unknown)
            before = done[part] & write
            if before.any():
                share = _fade(window, self.hole.shape, overlap)[before][:, None]
                old = self.pixels[part][before].astype(np.float32) / self.white
                filled[before] = old + share * (filled[before] - old)
            self.pixels[part][write] = self._encode(filled[write])
            done[part] |= write

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
        for start in range(0, window.shape[0], _WHOLE_BLOCK):
            rows = slice(window.top + start, min(window.top + start + _WHOLE_BLOCK, window.bottom))
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


def _fade(window: Window, shape: tuple[int, int], overlap: int) -> NDArray[np.float32]:
    """Return the share (h, w) of a window beside earlier ones: 0 at its edges, 1 inside, 1 at the edges of the image."""
    ramps = []
    for low, high, limit in zip(window[::2], window[1::2], shape, strict=True):
        places = np.arange(low, high, dtype=np.float32) + 0.5
        before = places - low if low > 0 else np.inf
        after = high - places if high < limit else np.inf
        distance = np.minimum(before, after) * np.ones(high - low, np.float32)
        ramps.append(np.clip((distance - overlap / 4) / (overlap / 2), 0, 1).astype(np.float32))
    return np.minimum.outer(*ramps)
