"""The splits of a data set as folders, and where each picture goes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lit_inpaint.data import Splits
from lit_inpaint.data.archives import ArchiveImages
from lit_inpaint.data.image_source import ImageFiles, ImageSource
from lit_inpaint.errors import UserError

NAMES = ("train", "val", "test")


class OutputSplit(NamedTuple):
    """A split, and the numbers of its pictures that differ from another in their files' endings only."""

    name: str
    pictures: ImageSource
    clashing: frozenset[int]

    def output(self, number: int, ending: str) -> str:
        """Where picture `number` is written, below the output folder: as it lies below its own, with another ending.

        Raises:
            UserError: the data set gives it a name that leads elsewhere, or that is taken for a hidden file.
        """
        stem = _stem(self.pictures, number)
        if any(not part or part.startswith((".", "__")) for part in stem.split("/")):
            raise UserError(f"{self.pictures.location(number)} cannot be written under the name {stem!r}; rename it")
        own = Path(self.pictures.location(number)).suffix if number in self.clashing else ""
        return f"{self.name}/{stem}{own}.{ending}"


def splits_of(lists: Splits) -> list[OutputSplit]:
    """The splits that have folders of their own: an empty one has none, nor has one that is the same as an earlier one."""
    found = list[OutputSplit]()
    for name, pictures in zip(NAMES, (lists.train, lists.val, lists.test), strict=True):
        if len(pictures) and same_as(pictures, found) is None:
            pictures.name(0)  # what names have in common is found before processes are forked, not in each
            found.append(OutputSplit(name, pictures, _clashing(pictures)))
    return found


def same_as(pictures: ImageSource, splits: list[OutputSplit]) -> str | None:
    """The split that holds the same pictures, if one does."""
    for split in splits:
        other = split.pictures
        if pictures is other:
            return split.name
        # A digest is of names, which may be the same in two folders.
        if len(pictures) == len(other) and pictures.location(0) == other.location(0) and pictures.digest() == other.digest():
            return split.name
    return None


def _stem(pictures: ImageSource, number: int) -> str:
    if isinstance(pictures, ImageFiles) and not isinstance(pictures, ArchiveImages):
        return os.path.splitext(pictures[number].relative_to(pictures.root).as_posix())[0]  # noqa: PTH122 (for each picture)
    return pictures.name(number)


def _clashing(pictures: ImageSource) -> frozenset[int]:
    if not isinstance(pictures, ImageFiles):
        return frozenset()
    stems = (os.path.splitext(name)[0] for name in pictures.names())  # noqa: PTH122
    # Hashes, as a million names are to be held against each other.
    hashed = (hashlib.blake2b(os.fsencode(stem), digest_size=8).digest() for stem in stems)
    numbers = np.fromiter((int.from_bytes(found) for found in hashed), np.uint64, len(pictures))
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return frozenset(np.flatnonzero(counts[inverse] > 1).tolist())
