"""List the image files in a folder. The lists of large folders are cached."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_inpaint.data.file_index import FileIndex, join_names
from lit_inpaint.data.image_source import ImageFiles

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MIN_INDEXED_FILES = 20_000
"""Lists of at least this many files are cached. Listing a million takes seconds on a local disk, minutes over a network."""


def list_images(folder: Path) -> ImageFiles:
    """List every image file below `folder`, at any depth, sorted by path; hidden files and folders are left out.

    From `MIN_INDEXED_FILES` files on, the list is cached together with the modification times of the folder and its
    sub-folders. The cached list is used while these times are the same; adding, removing or renaming a file changes them.
    """
    folder = Path(folder)
    index = FileIndex(os.fsencode(folder.absolute()))
    return index.load_or_build(lambda arrays: _restore(arrays, folder), lambda: _walk(folder, index))


def _walk(folder: Path, index: FileIndex) -> ImageFiles:
    names: list[str] = []
    times: dict[str, int] = {}
    for path, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        prefix = os.path.relpath(path, folder) + "/"
        prefix = "" if prefix == "./" else prefix
        times[prefix] = os.stat(path).st_mtime_ns  # noqa: PTH116 (many folders)
        names += [prefix + name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    names.sort()
    if len(names) >= MIN_INDEXED_FILES:
        latest = max(times.values()) / 1e9
        index.save(
            latest, names=join_names(names), folders=join_names(list(times)), times=np.array(list(times.values()), np.int64)
        )
    return ImageFiles.from_names(folder, names)


def _restore(arrays: Mapping[str, NDArray[Any]], folder: Path) -> ImageFiles | None:
    """Return the cached files, or None if a folder has changed or is gone."""
    folders = os.fsdecode(arrays["folders"].tobytes()).split("\0")
    try:
        for prefix, time in zip(folders, arrays["times"].tolist(), strict=True):
            if os.stat(folder / prefix).st_mtime_ns != time:  # noqa: PTH116
                return None
    except OSError:
        return None
    return ImageFiles.from_joined_names(folder, arrays["names"].tobytes())
