"""Pictures by number: what a data set's splits are made of, whether they lie in files, an archive, or one large binary."""

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

from lit_inpaint.data.image_decode import read_image, read_shape

Indices = NDArray[np.int64]

_AT_ONCE = 16_384


class ImageSource(ABC):
    """A fixed sequence of pictures. Holds what is needed to find them, not the pictures; cheap to hand to loader processes."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """Picture `index`, (3, H, W) uint8.

        Raises:
            UnreadableImageError: naming the picture.
        """

    def shape(self, index: int) -> tuple[int, int]:
        """(H, W) of picture `index`, without decoding it where a header tells.

        Raises:
            UnreadableImageError: naming the picture.
        """
        height, width = self.read(index).shape[1:]
        return height, width

    @abstractmethod
    def location(self, index: int) -> str:
        """Where a person finds picture `index`: its path."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What tables and grids call picture `index`, the same on every machine; files that differ in their ending share it."""

    def key(self, index: int) -> str:
        """Picture `index`'s path below the data set's folder, without its suffix: what files that belong to it are called."""
        return self.name(index)

    @abstractmethod
    def take(self, indices: Indices) -> Self:
        """The pictures at `indices`, in that order."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of which pictures these are, in their order; the same wherever they are kept. 64 hexadecimal digits."""


class ImageFiles(ImageSource):
    """Image files. A million paths take as much memory as their letters, and loader processes share it.

    A tuple of `Path` would take some 300 bytes for each, and each process that looks at one would make its own copy of the
    memory page it is on, as looking counts references.

    Args:
        root: the folder that `names` are relative to.
        names: paths below `root`, in the file system's encoding, one after the other.
        ends: where each name ends in `names`.
    """

    def __init__(self, root: Path, names: bytes, ends: Indices) -> None:
        self.root = root
        self._names = names
        self._ends = ends

    @classmethod
    def from_names(cls, root: Path, names: Iterable[str]) -> Self:
        """The files `names` below the folder `root`, in this order."""
        encoded = [os.fsencode(name) for name in names]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
        return cls(root, b"".join(encoded), ends)

    @classmethod
    def from_joined_names(cls, root: Path, names: bytes) -> Self:
        """As `below`, for names joined by zero bytes; at least one."""
        letters = np.frombuffer(names, np.uint8)
        zeros = np.flatnonzero(letters == 0)
        ends = np.append(zeros, len(letters)) - np.arange(len(zeros) + 1)
        return cls(root, names.replace(b"\0", b""), ends.astype(np.int64))

    @classmethod
    def from_paths(cls, paths: Iterable[Path]) -> Self:
        """These files, in this order, wherever they lie."""
        found = [os.fspath(path) for path in paths]
        root = os.path.commonpath({os.path.dirname(path) for path in found}) if found else ""  # noqa: PTH120 (many paths)
        skipped = len(os.path.join(root, "")) if root else 0  # noqa: PTH118
        return cls.from_names(Path(root), (path[skipped:] for path in found))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Path:
        """The path of file `index`; negative counts from the end."""
        return self.root / self._relative(range(len(self))[index])

    def __iter__(self) -> Iterator[Path]:
        return (self.root / name for name in self.names())

    def __eq__(self, other: object) -> bool:
        """Same files in the same order."""
        if not isinstance(other, ImageFiles):
            return NotImplemented
        return len(self) == len(other) and all(mine == others for mine, others in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((len(self), self.digest()))

    def names(self) -> Iterator[str]:
        """Each path below `root`."""
        return (self._relative(index) for index in range(len(self)))

    def read(self, index: int) -> Tensor:
        """See `ImageSource`."""
        return read_image(self.location(index))

    def shape(self, index: int) -> tuple[int, int]:
        """See `ImageSource`."""
        return read_shape(self.location(index))

    def location(self, index: int) -> str:
        """See `ImageSource`."""
        return os.path.join(self.root, self._relative(index))  # noqa: PTH118 (a `Path` takes four times as long)

    def name(self, index: int) -> str:
        """The path below the folder that holds all files, without its suffix."""
        return self.key(index)[self._shared :]

    def key(self, index: int) -> str:
        """See `ImageSource`."""
        return os.path.splitext(self._relative(index))[0]  # noqa: PTH122

    def take(self, indices: Indices) -> Self:
        """See `ImageSource`."""
        lengths = self._ends - self._starts
        letters, chunks = np.frombuffer(self._names, np.uint8), list[bytes]()
        for first in range(0, len(indices), _AT_ONCE):  # a loop over a million names would take seconds
            chosen = indices[first : first + _AT_ONCE]
            ends = np.cumsum(lengths[chosen])
            shifts = self._starts[chosen] - ends + lengths[chosen]
            chunks.append(letters[np.repeat(shifts, lengths[chosen]) + np.arange(ends[-1])].tobytes())
        names = b"".join(chunks)
        return self._like(names, np.cumsum(lengths[indices], dtype=np.int64), indices)

    def digest(self) -> str:
        """See `ImageSource`: of the paths below the folder that holds all files."""
        content = hashlib.sha256()
        for index in range(len(self)):
            content.update(self._encoded(index)[self._shared_bytes :] + b"\0")
        return content.hexdigest()

    def _like(self, names: bytes, ends: Indices, indices: Indices) -> Self:
        """Files of the same kind: `names`, which stood at `indices` here."""
        return type(self)(self.root, names, ends)

    def _encoded(self, index: int) -> bytes:
        return self._names[int(self._starts[index]) : int(self._ends[index])]

    def _relative(self, index: int) -> str:
        return os.fsdecode(self._encoded(index))

    @cached_property
    def _starts(self) -> Indices:
        starts = np.zeros_like(self._ends)
        starts[1:] = self._ends[:-1]
        return starts

    @cached_property
    def _shared(self) -> int:
        """Letters that all names begin with: those of the deepest folder that holds all files."""
        folders = {os.path.dirname(name) for name in self.names()}  # noqa: PTH120
        shared = os.path.commonpath(folders) if folders else ""
        return len(shared) + 1 if shared else 0

    @cached_property
    def _shared_bytes(self) -> int:
        return len(os.fsencode(self._relative(0)[: self._shared])) if len(self) else 0
