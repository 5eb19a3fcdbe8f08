"""Choose the output splits, and the path of each written image."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from lit_inpaint.data import Splits
from lit_inpaint.data.archives import ArchiveImages
from lit_inpaint.data.image_source import ImageFiles, ImageSource
from lit_inpaint.errors import UserError

SPLIT_NAMES = ("train", "val", "test")


class OutputSplit(NamedTuple):
    """One split that is written.

    Attributes:
        name: "train", "val" or "test".
        source: its images.
        ambiguous: indices of images whose names differ from another name in the suffix only.
    """

    name: str
    source: ImageSource
    ambiguous: frozenset[int]

    def output_path(self, index: int, suffix: str) -> str:
        """Path of the written image below the output folder: its path in the data set, with another suffix.

        Raises:
            UserError: the name would lead outside the folder, or be read as a hidden file.
        """
        stem = _stem(self.source, index)
        if any(not part or part.startswith((".", "__")) for part in stem.split("/")):
            raise UserError(f"{self.source.location(index)} cannot be written under the name {stem!r}; rename it")
        own_suffix = Path(self.source.location(index)).suffix if index in self.ambiguous else ""
        return f"{self.name}/{stem}{own_suffix}.{suffix}"


def output_splits(splits: Splits) -> list[OutputSplit]:
    """Splits to write: without empty ones, and without those that equal an earlier one."""
    found = list[OutputSplit]()
    for name, source in zip(SPLIT_NAMES, (splits.train, splits.val, splits.test), strict=True):
        if len(source) and same_split(source, found) is None:
            source.name(0)  # computes the common prefix of all names before workers are forked, not in each of them
            found.append(OutputSplit(name, source, _ambiguous_names(source)))
    return found


def same_split(source: ImageSource, splits: list[OutputSplit]) -> str | None:
    """Name of the split with the same images as `source`, if there is one."""
    for split in splits:
        other = split.source
        if source is other:
            return split.name
        # The digest covers names, which may be the same in two folders; so compare a location too.
        if len(source) == len(other) and source.location(0) == other.location(0) and source.digest() == other.digest():
            return split.name
    return None


def _stem(source: ImageSource, index: int) -> str:
    if isinstance(source, ImageFiles) and not isinstance(source, ArchiveImages):
        return os.path.splitext(source[index].relative_to(source.root).as_posix())[0]  # noqa: PTH122 (for each image)
    return source.name(index)


def _ambiguous_names(source: ImageSource) -> frozenset[int]:
    if not isinstance(source, ImageFiles):
        return frozenset()
    stems = [os.path.splitext(name)[0] for name in source.names()]  # noqa: PTH122
    counts = Counter(stems)
    return frozenset(index for index, stem in enumerate(stems) if counts[stem] > 1)
