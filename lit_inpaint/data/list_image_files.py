"""List the image files in a folder, and report what is left out. The lists of large folders are cached."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from lit_inpaint.data.file_index import FileIndex, join_names
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.storage.find_images import find_images

MIN_INDEXED_FILES = 20_000
"""Lists of at least this many files are cached. Listing a million takes seconds on a local disk, minutes over a network."""


class _Listing(NamedTuple):
    """Image files, `FoundImages.file_ids`, and one line about what was left out."""

    files: ImageFiles
    file_ids: NDArray[np.int64]
    skipped: str


def list_images(folder: Path) -> ImageFiles:
    """List every image file below `folder` as `find_images` does; a warning counts ignored formats and unreadable folders.

    From `MIN_INDEXED_FILES` files on, the list is cached together with the modification times of the folder and its
    sub-folders. The cached list is used while these times are the same; adding, removing or renaming a file changes them.
    """
    return _list(folder).files


def list_split_folders(train: Path, val: Path, test: Path) -> tuple[ImageFiles, ImageFiles, ImageFiles]:
    """List the images of three folders; a missing folder has none.

    A file that `val` or `test` contains is left out of the training images where a link leads to it from `train` too, with a
    warning. If that holds for all training images, as for a link from `val` to `train`, they stay, with another warning.
    """
    listings = [_list(folder) for folder in (train, val, test)]
    trained, files = listings[0], [listing.files for listing in listings]
    shared = np.isin(trained.file_ids, np.concatenate([listing.file_ids for listing in listings[1:]]))
    if count := int(shared.sum()):
        if count == len(shared):
            rank_zero_warn(f"all {count:,} images in {train} are validation or test images too: {val} or {test} links to them")
        else:
            files[0] = files[0].take(np.flatnonzero(~shared))
            rank_zero_warn(f"{count:,} images in {train} are links to validation or test images; they are left out of training")
    return files[0], files[1], files[2]


def _list(folder: Path) -> _Listing:
    folder = Path(folder)
    index = FileIndex(os.fsencode(folder.absolute()))
    listing = index.load_or_build(lambda arrays: _restore(arrays, folder), lambda: _find(folder, index))
    warn_skipped(listing.skipped)
    return listing


@cache
def warn_skipped(message: str) -> None:
    """Warn with what was left out of a list, once per process and on one rank; an empty message is none."""
    if message:
        rank_zero_warn(message, stacklevel=5)


def _find(folder: Path, index: FileIndex) -> _Listing:
    found = find_images(folder)
    skipped = found.describe_skipped(folder)
    if len(found.names) >= MIN_INDEXED_FILES and not found.unreadable_folders:
        times = found.folder_times
        index.save(
            max(times.values()) / 1e9,
            names=join_names(found.names),
            file_ids=found.file_ids,
            skipped=np.frombuffer(os.fsencode(skipped), np.uint8),
            folders=join_names(list(times)),
            times=np.array(list(times.values()), np.int64),
        )
    return _Listing(ImageFiles.from_names(folder, found.names), found.file_ids, skipped)


def _restore(arrays: Mapping[str, NDArray[Any]], folder: Path) -> _Listing | None:
    """Return the cached list, or None if a folder has changed or is gone, or an earlier version wrote the file."""
    if "file_ids" not in arrays:
        return None
    folders = os.fsdecode(arrays["folders"].tobytes()).split("\0")
    try:
        for prefix, time in zip(folders, arrays["times"].tolist(), strict=True):
            if os.stat(folder / prefix).st_mtime_ns != time:  # noqa: PTH116
                return None
    except OSError:
        return None
    files = ImageFiles.from_joined_names(folder, arrays["names"].tobytes())
    return _Listing(files, arrays["file_ids"], os.fsdecode(arrays["skipped"].tobytes()))
