"""Images by index: what the splits of a data set consist of, whether in files, in an archive or in one binary file."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.storage.image_decode import num_frames_of_file, read_image, read_shape

Indices = NDArray[np.int64]

_CHUNK = 16_384


class ImageSource(ABC):
    """A fixed sequence of images. It holds what is needed to find them, not their pixels, so it is cheap to send to workers."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """Read image `index`, (3, H, W) uint8.

        Raises:
            UnreadableImageError: the message names the image.
        """

    def shape(self, index: int) -> tuple[int, int]:
        """Return (H, W) of image `index`, from its header where it has one.

        Raises:
            UnreadableImageError: the message names the image.
        """
        height, width = self.read(index).shape[1:]
        return height, width

    def num_frames(self, index: int) -> int:
        """Return the number of frames or pages in the file of image `index`, of which `read` returns the first.

        Raises:
            UnreadableImageError: the message names the image.
        """
        return 1

    @abstractmethod
    def location(self, index: int) -> str:
        """Return the path at which a user finds image `index`."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of image `index` in tables and grids, the same on every machine.

        Files whose names differ only in the suffix have the same name.
        """

    def key(self, index: int) -> str:
        """Return the path of image `index` below the data set's folder, without its suffix. Mask files are matched by it."""
        return self.name(index)

    @abstractmethod
    def take(self, indices: Indices) -> Self:
        """Return a source of the images at `indices`, in that order."""

    @abstractmethod
    def digest(self) -> str:
        """Return the SHA-256 (64 hexadecimal digits) of which images these are and of their order, wherever they are stored."""


class ImageFiles(ImageSource):
    """Image files below one folder, with all paths in a single byte string.

    A million paths take as much memory as their characters, and loader processes share it. A tuple of `Path` would take some
    300 bytes per path. Each worker would also copy its memory pages, as reading an object changes its reference count.

    Args:
        root: the folder that contains all files.
        names: the paths relative to `root`, in the file system's encoding, concatenated.
        ends: end offset of each path in `names`.
    """

    def __init__(self, root: Path, names: bytes, ends: Indices) -> None:
        self.root = root
        self._names = names
        self._ends = ends

    @classmethod
    def from_names(cls, root: Path, names: Iterable[str]) -> Self:
        """Create from paths relative to `root`, in this order."""
        encoded = [os.fsencode(name) for name in names]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
        return cls(root, b"".join(encoded), ends)

    @classmethod
    def from_joined_names(cls, root: Path, names: bytes) -> Self:
        """Create from at least one path relative to `root`, joined by zero bytes."""
        characters = np.frombuffer(names, np.uint8)
        zeros = np.flatnonzero(characters == 0)
        ends = np.append(zeros, len(characters)) - np.arange(len(zeros) + 1)
        return cls(root, names.replace(b"\0", b""), ends.astype(np.int64))

    @classmethod
    def from_paths(cls, paths: Iterable[Path]) -> Self:
        """Create from any paths, in this order. `root` becomes their deepest common folder."""
        found = [os.fspath(path) for path in paths]
        root = os.path.commonpath({os.path.dirname(path) for path in found}) if found else ""  # noqa: PTH120 (many paths)
        skipped = len(os.path.join(root, "")) if root else 0  # noqa: PTH118
        return cls.from_names(Path(root), (path[skipped:] for path in found))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Path:
        """Return the path of file `index`; a negative index counts from the end."""
        return self.root / self._relative_path(range(len(self))[index])

    def __iter__(self) -> Iterator[Path]:
        return (self.root / name for name in self.names())

    def __eq__(self, other: object) -> bool:
        """Compare paths and their order."""
        if not isinstance(other, ImageFiles):
            return NotImplemented
        return len(self) == len(other) and all(left == right for left, right in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((len(self), self.digest()))

    def names(self) -> Iterator[str]:
        """Yield each path relative to `root`."""
        return (self._relative_path(index) for index in range(len(self)))

    def read(self, index: int) -> Tensor:
        """See `ImageSource`."""
        return read_image(self.location(index))

    def shape(self, index: int) -> tuple[int, int]:
        """See `ImageSource`."""
        return read_shape(self.location(index))

    def num_frames(self, index: int) -> int:
        """See `ImageSource`."""
        return num_frames_of_file(self.location(index))

    def location(self, index: int) -> str:
        """See `ImageSource`."""
        return os.path.join(self.root, self._relative_path(index))  # noqa: PTH118 (a `Path` takes four times as long)

    def name(self, index: int) -> str:
        """Return the path below the deepest folder that contains all files, without its suffix."""
        return self.key(index)[self._prefix_length :]

    def key(self, index: int) -> str:
        """See `ImageSource`."""
        return os.path.splitext(self._relative_path(index))[0]  # noqa: PTH122

    def take(self, indices: Indices) -> Self:
        """See `ImageSource`."""
        lengths = self._ends - self._starts
        characters, chunks = np.frombuffer(self._names, np.uint8), list[bytes]()
        for first in range(0, len(indices), _CHUNK):  # a loop over a million names would take seconds
            chosen = indices[first : first + _CHUNK]
            ends = np.cumsum(lengths[chosen])
            shifts = self._starts[chosen] - ends + lengths[chosen]
            chunks.append(characters[np.repeat(shifts, lengths[chosen]) + np.arange(ends[-1])].tobytes())
        names = b"".join(chunks)
        return self._new(names, np.cumsum(lengths[indices], dtype=np.int64), indices)

    def digest(self) -> str:
        """See `ImageSource`. Hashes the paths below the deepest folder that contains all files."""
        content = hashlib.sha256()
        for index in range(len(self)):
            content.update(self._encoded_path(index)[self._prefix_bytes :] + b"\0")
        return content.hexdigest()

    def _new(self, names: bytes, ends: Indices, indices: Indices) -> Self:
        """Create an object of the same class from the paths at `indices`."""
        return type(self)(self.root, names, ends)

    def _encoded_path(self, index: int) -> bytes:
        return self._names[int(self._starts[index]) : int(self._ends[index])]

    def _relative_path(self, index: int) -> str:
        return os.fsdecode(self._encoded_path(index))

    @cached_property
    def _starts(self) -> Indices:
        starts = np.zeros_like(self._ends)
        starts[1:] = self._ends[:-1]
        return starts

    @cached_property
    def _prefix_length(self) -> int:
        """Number of characters of the deepest folder that contains all files, with its slash."""
        folders = {os.path.dirname(name) for name in self.names()}  # noqa: PTH120
        prefix = os.path.commonpath(folders) if folders else ""
        return len(prefix) + 1 if prefix else 0

    @cached_property
    def _prefix_bytes(self) -> int:
        return len(os.fsencode(self._relative_path(0)[: self._prefix_length])) if len(self) else 0


def hash_names(images: ImageSource, prefix: str) -> NDArray[np.uint64]:
    """Return (N,) a hash of `prefix` and each image's `key`, the same in every process and whatever other images there are."""
    start = hashlib.blake2b(prefix.encode(errors="surrogateescape"), digest_size=8)
    hashes = np.empty(len(images), np.uint64)
    for index in range(len(images)):
        name = start.copy()
        name.update(images.key(index).encode(errors="surrogateescape"))
        hashes[index] = int.from_bytes(name.digest(), "little")
    return hashes
