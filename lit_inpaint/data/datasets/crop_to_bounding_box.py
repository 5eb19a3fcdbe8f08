"""Pictures of which one square is shown, such as the smallest around what a data set's boxes mark."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.data.datasets.folder_layouts import missing
from lit_inpaint.data.file_index import FileIndex
from lit_inpaint.data.image_decode import UnreadableImageError, read_shape
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.unreadable_images import OnBadFile
from lit_inpaint.errors import UserError

MIN_INDEXED_FILES = 1_000
"""Sizes of so many files are kept. Reading ten thousand headers takes seconds on a local disk, minutes over a network."""


class BoxCrops(ImageFiles):
    """Image files of each of which one square is shown.

    Args:
        root: as in `ImageFiles`.
        names: as in `ImageFiles`.
        ends: as in `ImageFiles`.
        squares: (N, 3), each picture's square: columns to its left, rows above it, and its side, in pixels.
    """

    def __init__(self, root: Path, names: bytes, ends: Indices, squares: Indices) -> None:
        super().__init__(root, names, ends)
        self.squares = squares

    @classmethod
    def from_files(cls, files: ImageFiles, squares: Indices) -> Self:
        """Of each of the files, the square in the same row."""
        return cls(files.root, files._names, files._ends, squares)

    def read(self, index: int) -> Tensor:
        """See `ImageSource`; the square alone."""
        picture = super().read(index)
        left, top, side = self.squares[index].tolist()
        height, width = picture.shape[1:]
        if left + side > width or top + side > height:
            raise UnreadableImageError(f"{self.location(index)} has {width}x{height} pixels, its square does not lie in them")
        return picture[:, top : top + side, left : left + side]

    def shape(self, index: int) -> tuple[int, int]:
        """See `ImageSource`; of the square."""
        side = int(self.squares[index, 2])
        return side, side

    def digest(self) -> str:
        """See `ImageSource`: of paths and squares."""
        return hashlib.sha256(super().digest().encode() + self.squares.astype("<i8").tobytes()).hexdigest()

    def _like(self, names: bytes, ends: Indices, indices: Indices) -> Self:
        return type(self)(self.root, names, ends, self.squares[indices])


def boxes_to_squares(files: ImageFiles, boxes: Indices, on_bad_file: OnBadFile) -> tuple[BoxCrops, NDArray[np.bool_]]:
    """The smallest square around each box, moved into the picture where it leaves it.

    The longer side of a box is the side of its square, whose middle is the box's (rounded to the left and up). A square that is
    larger than the picture's shorter side is cut to that.

    Args:
        files: the pictures.
        boxes: (N, 4) columns to its left, rows above it, width and height, the latter two positive.
        on_bad_file: a file whose size cannot be read is named and left out (`skip`), or ends the run (`stop`).

    Returns:
        The squares, and (N,) whether each fitted into its picture without a cut.

    Raises:
        UserError: no file can be read, or one cannot and `on_bad_file` is `stop`.
    """
    extents = _extents(files)
    readable = np.flatnonzero(extents.min(axis=1) > 0)
    if len(readable) < len(files):
        bad = [files.location(int(index)) for index in np.flatnonzero(extents.min(axis=1) == 0)]
        report = f"{len(bad)} of {len(files)} files cannot be read as images: {missing(bad)}"
        if on_bad_file == "stop" or not len(readable):
            raise UserError(report)
        rank_zero_warn(f"{report}. They are left out", stacklevel=3)
    files, boxes, extents = files.take(readable), boxes[readable], extents[readable]
    wanted, shorter = boxes[:, 2:].max(axis=1), extents.min(axis=1)
    sides = np.minimum(wanted, shorter)[:, None]
    corners = (2 * boxes[:, :2] + boxes[:, 2:] - sides) // 2
    corners = np.clip(corners, 0, extents - sides)
    return BoxCrops.from_files(files, np.concatenate((corners, sides), axis=1)), wanted <= shorter


def _extents(files: ImageFiles) -> Indices:
    """(N, 2) width and height of each file as `read_image` turns it; 0 where it cannot be read.

    From `MIN_INDEXED_FILES` files on they are kept in the cache, beside the times at which the files' folders were changed. As long as
    those stand, they are taken from there. A file that was overwritten in its place is found out when it is read.
    """
    folders = sorted({os.path.dirname(name) for name in files.names()})  # noqa: PTH120 (many paths)
    kept = FileIndex(os.fsencode(files.root.absolute()) + b"/sizes/" + files.digest().encode())
    times = np.array([(files.root / folder).stat().st_mtime_ns for folder in folders], np.int64)

    def unchanged(content: Mapping[str, NDArray[np.int64]]) -> Indices | None:
        return content["extents"] if np.array_equal(content["times"], times) else None

    def looked_at() -> Indices:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            extents = np.array(list(threads.map(_extent, files)), np.int64).reshape(-1, 2)
        if len(files) >= MIN_INDEXED_FILES and extents.all():
            kept.write(float(times.max()) / 1e9, times=times, extents=extents)
        return extents

    return kept.find(unchanged, looked_at)


def _extent(path: Path) -> tuple[int, int]:
    """Width and height from the header."""
    try:
        height, width = read_shape(path)
    except UnreadableImageError:
        return 0, 0
    return width, height
