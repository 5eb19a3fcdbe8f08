"""Find the image files below a folder: the only code of the package that walks a tree of images or masks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lit_inpaint.storage.user_path import real_path

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")
"""Suffixes of the files that are read as images, in any case. Of an animation, the first frame is read."""
_OTHER_FORMATS = frozenset(
    [
        ".3fr",
        ".ai",
        ".arw",
        ".bpg",
        ".cr2",
        ".cr3",
        ".cur",
        ".dds",
        ".dib",
        ".dng",
        ".eps",
        ".erf",
        ".exr",
        ".hdr",
        ".heic",
        ".heics",
        ".heif",
        ".hif",
        ".icns",
        ".ico",
        ".iiq",
        ".j2c",
        ".j2k",
        ".jp2",
        ".jpe",
        ".jpf",
        ".jpx",
        ".jxl",
        ".jxr",
        ".kdc",
        ".mrw",
        ".nef",
        ".nrw",
        ".orf",
        ".pam",
        ".pbm",
        ".pcx",
        ".pef",
        ".pfm",
        ".pgm",
        ".pict",
        ".pnm",
        ".ppm",
        ".psb",
        ".psd",
        ".raf",
        ".raw",
        ".rw2",
        ".rwl",
        ".sgi",
        ".sr2",
        ".srf",
        ".srw",
        ".svg",
        ".svgz",
        ".tga",
        ".wdp",
        ".wmf",
        ".x3f",
        ".xbm",
        ".xcf",
        ".xpm",
    ]
)
"""Suffixes of images in formats that are not read. Such files are counted; other files, such as lists, are not."""
_MAX_NAMED = 3


@dataclass
class FoundImages:
    """Image files below one folder.

    Attributes:
        names: paths relative to the folder, with "/" between their parts, sorted.
        file_ids: (N,) int64, the same for two names of one file (links), in the order of `names`.
        folder_times: modification time in ns of each folder that was listed, by its relative path with "/" at the end.
        other_formats: number of image files that are not read, by suffix.
        unreadable_folders: relative path of each folder that cannot be listed, and the reason.
    """

    names: list[str] = field(default_factory=list)
    file_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    folder_times: dict[str, int] = field(default_factory=dict)
    other_formats: Counter[str] = field(default_factory=Counter)
    unreadable_folders: list[str] = field(default_factory=list)

    def describe_skipped(self, folder: Path) -> str:
        """Describe in one line what was not read below `folder`; empty if nothing was."""
        return describe_skipped(folder, self.other_formats, self.unreadable_folders)


def describe_skipped(where: Path, other_formats: Counter[str], unreadable_folders: Sequence[str] = ()) -> str:
    """Describe in one line what was not read at `where`, see `FoundImages`; empty if nothing was left out."""
    parts = []
    if other_formats:
        counts = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(other_formats.items()))
        formats = ", ".join(suffix.removeprefix(".") for suffix in SUFFIXES)
        parts.append(f"{other_formats.total():,} images in other formats ({counts}; read are {formats})")
    if count := len(unreadable_folders):
        named = ", ".join(unreadable_folders[:_MAX_NAMED]) + ", …" * (count > _MAX_NAMED)
        parts.append(f"{count:,} folder{'s' * (count > 1)} that cannot be listed ({named})")
    return f"left out in {where}: {' and '.join(parts)}" if parts else ""


def other_format(name: str) -> str | None:
    """Return the suffix of a file's name if it is that of an image in a format that is not read."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (many files)
    return suffix if suffix in _OTHER_FORMATS else None


def find_images(folder: Path) -> FoundImages:
    """Find every image file below `folder`, at any depth; hidden files and folders, and those from `__` on, are left out.

    Symbolic links to folders are followed, but each real folder is listed once: under its own path if that is below `folder`,
    else under the first link in sorted order. A link to `folder` or to a folder above it is not followed, as it leads back.
    A missing folder has no images.
    """
    found = FoundImages()
    if not os.path.isdir(folder):  # noqa: PTH112
        return found
    ids: list[int] = []
    listed = {_identity(above.stat()) for above in real_path(folder).parents}
    pending, links = [""], list[str]()  # real folders first
    while pending or links:
        prefix = pending.pop() if pending else heappop(links)
        try:
            status = os.stat(os.path.join(folder, prefix))  # noqa: PTH116, PTH118 (many folders)
            if _identity(status) in listed:
                continue
            listed.add(_identity(status))
            with os.scandir(os.path.join(folder, prefix)) as content:  # noqa: PTH118
                entries = list(content)
        except OSError as error:
            found.unreadable_folders.append(f"{prefix or '.'}: {error.strerror}")
            continue
        found.folder_times[prefix] = status.st_mtime_ns
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if _is_folder(entry):
                if name.startswith("__"):
                    continue
                if entry.is_symlink():
                    heappush(links, f"{prefix}{name}/")
                else:
                    pending.append(f"{prefix}{name}/")
            elif name.lower().endswith(SUFFIXES):
                found.names.append(prefix + name)
                ids.append(_file_id(entry, status.st_dev))
            elif suffix := other_format(name):
                found.other_formats[suffix] += 1
    order = sorted(range(len(ids)), key=found.names.__getitem__)
    found.file_ids = np.array(ids, np.int64)[order]
    found.names.sort()
    return found


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that may not be entered
        return False


def _file_id(entry: os.DirEntry[str], device: int) -> int:
    """Combine device and inode to one number; only links cost a call to the file system, which `is_dir` has made already."""
    inode = entry.inode()
    if entry.is_symlink():
        try:
            status = entry.stat()
        except OSError:  # it leads nowhere; reading it reports that
            return -inode
        device, inode = status.st_dev, status.st_ino
    return hash((device, inode))
