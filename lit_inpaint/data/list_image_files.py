"""Which image files a folder holds; for large folders the answer is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_inpaint.data.file_index import FileIndex, joined
from lit_inpaint.data.image_source import ImageFiles

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MIN_INDEXED_FILES = 20_000
"""Lists of so many files are kept. Reading a folder of a million takes seconds on a local disk, minutes over a network."""


def list_images(folder: Path) -> ImageFiles:
    """Every image file under `folder`, at any depth, sorted by path; hidden files and folders are left out.

    From `MIN_INDEXED_FILES` files on, the list is kept in the cache, beside the times at which the folder and its sub-folders were
    changed. As long as those stand, it is taken from there; adding, removing or renaming a file changes them.
    """
    folder = Path(folder)
    kept = FileIndex(os.fsencode(folder.absolute()))
    return kept.find(lambda content: _unchanged(content, folder), lambda: _walked(folder, kept))


def _walked(folder: Path, kept: FileIndex) -> ImageFiles:
    names: list[str] = []
    times: dict[str, int] = {}
    for place, folders, here in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        below = os.path.relpath(place, folder) + "/"
        below = "" if below == "./" else below
        times[below] = os.stat(place).st_mtime_ns  # noqa: PTH116 (many folders)
        names += [below + name for name in here if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    names.sort()
    if len(names) >= MIN_INDEXED_FILES:
        latest = max(times.values()) / 1e9
        kept.write(latest, names=joined(names), folders=joined(list(times)), times=np.array(list(times.values()), np.int64))
    return ImageFiles.from_names(folder, names)


def _unchanged(content: Mapping[str, NDArray[Any]], folder: Path) -> ImageFiles | None:
    """The files that were kept, unless a folder has changed since, or is gone."""
    folders = os.fsdecode(content["folders"].tobytes()).split("\0")
    try:
        for below, then in zip(folders, content["times"].tolist(), strict=True):
            if os.stat(folder / below).st_mtime_ns != then:  # noqa: PTH116
                return None
    except OSError:
        return None
    return ImageFiles.from_joined_names(folder, content["names"].tobytes())
