"""Crop images to the smallest square around a bounding box."""

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

from lit_inpaint.data.datasets.folder_layouts import abbreviate
from lit_inpaint.data.file_index import FileIndex
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.unreadable_images import OnBadFile
from lit_inpaint.data.workers import available_cores
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import UnreadableImageError, read_shape

MIN_INDEXED_FILES = 1_000
"""Sizes of at least this many files are cached. To read ten thousand headers takes seconds on a local disk, minutes over a
network."""


class BoxCrops(ImageFiles):
    """Image files of which one square crop each is used.

    Args:
        root: as in `ImageFiles`.
        names: as in `ImageFiles`.
        ends: as in `ImageFiles`.
        squares: (N, 3) left, top and side of each crop in pixels.
    """

    def __init__(self, root: Path, names: bytes, ends: Indices, squares: Indices) -> None:
        super().__init__(root, names, ends)
        self.squares = squares

    @classmethod
    def from_files(cls, files: ImageFiles, squares: Indices) -> Self:
        """Create from files and one row of `squares` for each."""
        return cls(files.root, files._names, files._ends, squares)

    def read(self, index: int) -> Tensor:
        """See `ImageSource`; returns the crop."""
        image = super().read(index)
        left, top, side = self.squares[index].tolist()
        height, width = image.shape[1:]
        if left + side > width or top + side > height:
            raise UnreadableImageError(f"{self.location(index)} has {width}x{height} pixels, its square crop exceeds them")
        return image[:, top : top + side, left : left + side]

    def shape(self, index: int) -> tuple[int, int]:
        """See `ImageSource`; returns the shape of the crop."""
        side = int(self.squares[index, 2])
        return side, side

    def digest(self) -> str:
        """See `ImageSource`. Hashes paths and crops."""
        return hashlib.sha256(super().digest().encode() + self.squares.astype("<i8").tobytes()).hexdigest()

    def _new(self, names: bytes, ends: Indices, indices: Indices) -> Self:
        return type(self)(self.root, names, ends, self.squares[indices])


def square_crops(files: ImageFiles, boxes: Indices, on_bad_file: OnBadFile) -> tuple[BoxCrops, NDArray[np.bool_]]:
    """Crop each image to the smallest square around its bounding box, shifted into the image where it exceeds it.

    The side of the square is the longer side of the box. The center of the square is that of the box, rounded to the left and
    up. A square larger than the image's shorter side is reduced to that.

    Args:
        files: the images.
        boxes: (N, 4) left, top, width and height in pixels; width and height are positive.
        on_bad_file: a file whose size cannot be read is named and left out (`skip`), or ends the run (`stop`).

    Returns:
        The crops, and (N,) whether each square fitted into its image without being reduced.

    Raises:
        UserError: no file can be read, or one cannot and `on_bad_file` is `stop`.
    """
    sizes = _image_sizes(files)
    readable = np.flatnonzero(sizes.min(axis=1) > 0)
    if len(readable) < len(files):
        unreadable = [files.location(int(index)) for index in np.flatnonzero(sizes.min(axis=1) == 0)]
        message = f"{len(unreadable)} of {len(files)} files cannot be read as images: {abbreviate(unreadable)}"
        if on_bad_file == "stop" or not len(readable):
            raise UserError(message)
        rank_zero_warn(f"{message}. They are left out", stacklevel=3)
    files, boxes, sizes = files.take(readable), boxes[readable], sizes[readable]
    box_sides, image_sides = boxes[:, 2:].max(axis=1), sizes.min(axis=1)
    sides = np.minimum(box_sides, image_sides)[:, None]
    corners = (2 * boxes[:, :2] + boxes[:, 2:] - sides) // 2
    corners = np.clip(corners, 0, sizes - sides)
    return BoxCrops.from_files(files, np.concatenate((corners, sides), axis=1)), box_sides <= image_sides


def _image_sizes(files: ImageFiles) -> Indices:
    """Return (N, 2) width and height of each file as `read_image` reads it; 0 where it cannot be read.

    From `MIN_INDEXED_FILES` files on, sizes are cached together with the modification times of the files' folders. The cached
    sizes are used while these times are the same. A file that was overwritten in place is detected when it is read.
    """
    folders = sorted({os.path.dirname(name) for name in files.names()})  # noqa: PTH120 (many paths)
    index = FileIndex(os.fsencode(files.root.absolute()) + b"/sizes/" + files.digest().encode())
    times = np.array([(files.root / folder).stat().st_mtime_ns for folder in folders], np.int64)

    def restore(arrays: Mapping[str, NDArray[np.int64]]) -> Indices | None:
        return arrays["sizes"] if np.array_equal(arrays["times"], times) else None

    def build() -> Indices:
        with ThreadPoolExecutor(min(8, available_cores())) as threads:
            sizes = np.array(list(threads.map(_image_size, files)), np.int64).reshape(-1, 2)
        if len(files) >= MIN_INDEXED_FILES and sizes.all():
            index.save(float(times.max()) / 1e9, times=times, sizes=sizes)
        return sizes

    return index.load_or_build(restore, build)


def _image_size(path: Path) -> tuple[int, int]:
    """Read width and height from the header; 0, 0 if it cannot be read."""
    try:
        height, width = read_shape(path)
    except UnreadableImageError:
        return 0, 0
    return width, height
