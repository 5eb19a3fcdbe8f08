"""Find groups of near holes in a large mask, and the windows in which to fill them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class Window(NamedTuple):
    """A rectangle of pixels: rows `top` to `bottom` and columns `left` to `right`, both ends exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of its pixels in an array (H, W, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


class HoleGroup(NamedTuple):
    """Near holes: their bounding box, and which of its pixels (h, w) are theirs; boxes of two groups may overlap."""

    box: Window
    pixels: Mask


def group_holes(hole: Mask, distance: int, join_up_to: int) -> Iterator[HoleGroup]:
    """Yield the groups of near holes; each hole pixel belongs to one.

    The mask is reduced to square cells, so that time and memory stay small for large masks.

    Args:
        hole: (H, W).
        distance: in pixels; nearer holes are one group. Holes up to twice as far may be one too.
        join_up_to: in pixels; groups with centers in the same square of this side, all smaller than it, become one.
    """
    cell = max(1, distance // 2)
    count, found = cv2.connectedComponents(_any_per_cell(hole, cell).astype(np.uint8), connectivity=8)
    labels = np.asarray(found, np.int32)
    members: dict[tuple[int, int, int], list[int]] = {}
    boxes: dict[tuple[int, int, int], Window] = {}
    for label, box in enumerate(_boxes(labels, count), start=1):
        small = max(box.shape) * cell <= join_up_to
        middle = ((box.top + box.bottom) * cell // 2 // join_up_to, (box.left + box.right) * cell // 2 // join_up_to)
        key = (0, *middle) if small else (label, 0, 0)
        boxes[key] = _union(boxes[key], box) if key in boxes else box
        members.setdefault(key, []).append(label)
    for key, box in boxes.items():
        own = np.isin(labels[box.slices], members[key])
        yield _tighten(hole, Window(*(side * cell for side in box)), own.repeat(cell, axis=0).repeat(cell, axis=1))


def windows_around(box: Window, shape: tuple[int, int], side: int) -> Iterator[Window]:
    """Yield windows that cover a bounding box of holes with context around it, row by row.

    Args:
        box: bounding box of the holes.
        shape: (H, W) of the image.
        side: minimum side of a window, unless the image is smaller. The maximum is twice as much: an image up to that is one
            window. A box that does not fit in the maximum with a quarter of `side` around it is covered by several windows that
            overlap by half of `side`.
    """
    spans = [_spans(low, high, limit, side) for low, high, limit in zip(box[::2], box[1::2], shape, strict=True)]
    for top, bottom in spans[0]:
        for left, right in spans[1]:
            yield Window(top, bottom, left, right)


def tile(shape: tuple[int, int], side: int) -> Iterator[Window]:
    """Yield overlapping square tiles that cover an image (H, W), row by row; neighbors share at least a quarter of `side`."""
    spans = [_cover(0, limit, min(side, limit), side // 4) for limit in shape]
    for top, bottom in spans[0]:
        for left, right in spans[1]:
            yield Window(top, bottom, left, right)


def expand(box: Window, margin: int, shape: tuple[int, int]) -> Window:
    """Return the box with a margin on all sides, inside an image (H, W)."""
    height, width = shape
    return Window(
        max(0, box.top - margin), min(height, box.bottom + margin), max(0, box.left - margin), min(width, box.right + margin)
    )


def _spans(low: int, high: int, limit: int, side: int) -> list[tuple[int, int]]:
    margin, largest = side // 4, min(2 * side, limit)
    length = limit if limit <= largest else min(max(side, high - low + 2 * margin), limit)
    if length <= largest:
        start = min(max(0, (low + high - length) // 2), limit - length)
        return [(start, start + length)]
    return _cover(max(0, low - margin), min(limit, high + margin), largest, 2 * margin)


def _cover(low: int, high: int, length: int, overlap: int) -> list[tuple[int, int]]:
    """Return intervals of one length that cover [low, high), evenly spaced, with at least this overlap."""
    if high - low <= length:
        return [(low, low + length)]
    count = -(-(high - low - overlap) // max(1, length - overlap))
    starts = np.linspace(low, high - length, count).round().astype(int)
    return [(int(start), int(start) + length) for start in starts]


def _any_per_cell(hole: Mask, cell: int) -> Mask:
    rows = np.logical_or.reduceat(hole, np.arange(0, hole.shape[0], cell), axis=0)
    result: Mask = np.logical_or.reduceat(rows, np.arange(0, hole.shape[1], cell), axis=1)
    return result


def _boxes(labels: NDArray[np.int32], count: int) -> Iterator[Window]:
    """Yield the bounding box of each label from 1 on."""
    rows, columns = np.nonzero(labels)
    found = labels[rows, columns] - 1
    low, high = np.full((2, count - 1), np.iinfo(np.int64).max), np.zeros((2, count - 1), np.int64)
    for axis, places in enumerate((rows, columns)):
        np.minimum.at(low[axis], found, places)
        np.maximum.at(high[axis], found, places + 1)
    for index in range(count - 1):
        yield Window(int(low[0, index]), int(high[0, index]), int(low[1, index]), int(high[1, index]))


def _union(a: Window, b: Window) -> Window:
    return Window(min(a.top, b.top), max(a.bottom, b.bottom), min(a.left, b.left), max(a.right, b.right))


def _tighten(hole: Mask, box: Window, own: Mask) -> HoleGroup:
    """Return the group of the hole's pixels in a box of cells, which may reach beyond the image, that are its `own`."""
    inside = hole[box.slices]
    inside = inside & own[: inside.shape[0], : inside.shape[1]]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    tight = Window(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    moved = Window(box.top + tight.top, box.top + tight.bottom, box.left + tight.left, box.left + tight.right)
    return HoleGroup(moved, inside[tight.slices])
