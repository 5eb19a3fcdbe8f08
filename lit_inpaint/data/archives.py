"""Image files inside an archive, read where they lie, without unpacking it."""

from __future__ import annotations

import os
import tarfile
import weakref
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.data import list_image_files
from lit_inpaint.data.file_index import FileIndex, joined
from lit_inpaint.data.image_decode import UnreadableImageError, decode_image, decode_shape
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.list_image_files import SUFFIXES
from lit_inpaint.errors import UserError

READABLE = (".zip", ".tar")
"""Archives whose members can be read in any order."""
COMPRESSED = {
    ".tar.gz": "tar -xzf",
    ".tgz": "tar -xzf",
    ".tar.bz2": "tar -xjf",
    ".tbz2": "tar -xjf",
    ".tar.xz": "tar -xJf",
}
"""Archives that are one compressed stream, which has to be read from its beginning, and the command that unpacks them."""
LISTS = (".txt", ".csv", ".flist")
"""Other members that are found: lists of images, which some archives bring along."""
_TAR = 255  # in place of a zip method: bytes as they are, without a header before them or a checksum


class ArchiveImages(ImageFiles):
    """Image files in a zip or tar archive; `where` is `archive.zip/member`.

    A member is read by its place in the archive. That moves no position in the open file, so threads and forked loader
    processes may share it. A zip holds a checksum of each member, which is compared at every reading.

    Args:
        root: the archive.
        names: as in `ImageFiles`: the members' paths.
        ends: as in `ImageFiles`.
        spots: (N, 4) where each member is: its first byte, stored bytes, zip method (255 in a tar), CRC-32 (0 in a tar).
    """

    def __init__(self, root: Path, names: bytes, ends: Indices, spots: Indices) -> None:
        super().__init__(root, names, ends)
        self._spots = spots

    @classmethod
    def from_files(cls, files: ImageFiles, spots: Indices) -> Self:
        """Members whose paths are `files`."""
        return cls(files.root, files._names, files._ends, spots)

    def read(self, index: int) -> Tensor:
        """See `ImageSource`."""
        return decode_image(self.read_bytes(index), self.location(index))

    def shape(self, index: int) -> tuple[int, int]:
        """See `ImageSource`."""
        return decode_shape(self.read_bytes(index), self.location(index))

    def read_bytes(self, index: int) -> bytes:
        """The bytes of member `index`.

        Raises:
            UnreadableImageError: the archive is gone, or damaged at this place.
        """
        method, checksum = self._spots[index, 2:].tolist()
        try:
            content = self._stored(index)
            if method == zipfile.ZIP_DEFLATED:
                content = zlib.decompress(content, -zlib.MAX_WBITS)
            if method != _TAR and zlib.crc32(content) != checksum:
                raise ValueError("its checksum is wrong")
        except (OSError, ValueError, zlib.error) as error:
            raise UnreadableImageError(f"cannot read {self.location(index)}: {error}; the archive is damaged there") from error
        return content

    def __getstate__(self) -> dict[str, Any]:
        """An open file belongs to its process."""
        return {name: value for name, value in vars(self).items() if name != "_file"}

    def _like(self, names: bytes, ends: Indices, indices: Indices) -> Self:
        return type(self)(self.root, names, ends, self._spots[indices])

    def _stored(self, index: int) -> bytes:
        """The member's bytes as they stand in the archive."""
        start, size, method, _ = self._spots[index].tolist()
        if method == _TAR:
            content = os.pread(self._file, size, start)
        else:
            # A zip member follows a header whose length only the header itself tells: mostly 30 bytes and the name.
            likely = 30 + len(self._encoded(index)) + 64
            found = os.pread(self._file, likely + size, start)
            if found[:4] != b"PK\3\4":
                raise ValueError("no member begins here")
            header = 30 + int.from_bytes(found[26:28], "little") + int.from_bytes(found[28:30], "little")
            content = found[header : header + size]
            if len(content) < size:
                content = os.pread(self._file, size, start + header)
        if len(content) < size:
            raise ValueError("the archive ends within it")
        return content

    @cached_property
    def _file(self) -> int:
        file = os.open(self.root, os.O_RDONLY)
        weakref.finalize(self, os.close, file)
        return file


def is_archive(path: Path) -> bool:
    """Whether `path` is a file that is called as an archive is.

    Raises:
        UserError: it is one that has to be unpacked; says how.
    """
    if not path.is_file():
        return False
    for suffix, command in COMPRESSED.items():
        if path.name.lower().endswith(suffix):
            raise UserError(f"{path} has to be unpacked, its images cannot be read in place: {command} {path} -C {path.parent}")
    return path.name.lower().endswith(READABLE)


def list_archive(archive: Path) -> ArchiveImages:
    """The images and lists in a zip or tar archive, sorted by path; hidden files and folders are left out, as in a folder.

    From as many as `listing.MIN_INDEXED_FILES` on, what was found is kept in the cache beside the archive's size and time, as a tar
    has to be passed through from end to end: minutes for Places2 on a disk.

    Raises:
        UserError: it is no archive, is not whole, or its images are stored in a way that cannot be read in place.
    """
    archive = Path(archive)
    kept = FileIndex(os.fsencode(archive.absolute()) + b"/members")
    state = archive.stat()
    stamp = np.array([state.st_size, state.st_mtime_ns], np.int64)

    def unchanged(content: Mapping[str, NDArray[Any]]) -> ArchiveImages | None:
        if not np.array_equal(content["stamp"], stamp):
            return None
        return ArchiveImages.from_files(ImageFiles.from_joined_names(archive, content["names"].tobytes()), content["spots"])

    def looked_through() -> ArchiveImages:
        names, spots = _contents(archive)
        if len(names) >= list_image_files.MIN_INDEXED_FILES:
            kept.write(state.st_mtime, names=joined(names), spots=spots, stamp=stamp)
        return ArchiveImages.from_files(ImageFiles.from_names(archive, names), spots)

    return kept.find(unchanged, looked_through)


def _contents(archive: Path) -> tuple[list[str], Indices]:
    """The members' names, sorted, and where they are."""
    names: list[str] = []
    numbers = array("q")
    listed = _in_zip(archive) if archive.name.lower().endswith(".zip") else _in_tar(archive)
    try:
        for name, *spot in listed:
            name = name.removeprefix("./")
            if name.lower().endswith(SUFFIXES + LISTS) and not _hidden(name):
                if spot[2] not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, _TAR):
                    raise UserError(
                        f"{archive} has to be unpacked, {name} is packed by a method (number {spot[2]}) not read here"
                    )
                names.append(name)
                numbers.extend(spot)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise UserError(f"{archive} is no whole archive ({' '.join(str(error).split())}); copy or fetch it again") from error
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    names.sort()
    # Of members with the same name the last one stays when an archive is unpacked.
    last = [place for place, name in enumerate(names) if names[place + 1 : place + 2] != [name]]
    spots = np.array(numbers, np.int64).reshape(-1, 4)[order[np.array(last, np.int64)]]
    return [names[place] for place in last], spots


def _in_zip(archive: Path) -> Iterator[tuple[str, int, int, int, int]]:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            if member.flag_bits & 1:
                raise UserError(f"{archive} has to be unpacked, {member.filename} is encrypted")
            if not member.is_dir():
                yield member.filename, member.header_offset, member.compress_size, member.compress_type, member.CRC


def _in_tar(archive: Path) -> Iterator[tuple[str, int, int, int, int]]:
    links: list[tuple[str, str]] = []
    for member in _headers(archive):
        if member.isreg():
            yield member.name, member.offset_data, member.size, _TAR, 0
        elif member.islnk():
            links.append((member.name, member.linkname))
    if not links:
        return
    # Few archives have hard links: those are passed through again, instead of all names being remembered for them.
    wanted = {target for _, target in links}
    spots = {
        member.name: (member.offset_data, member.size)
        for member in _headers(archive)
        if member.isreg() and member.name in wanted
    }
    for name, target in links:
        if target not in spots:
            raise ValueError(f"{name} stands for {target}, which is not in it")
        spots[name] = spots[target]  # for a link to a link
        yield name, *spots[target], _TAR, 0


def _headers(archive: Path) -> Iterator[tarfile.TarInfo]:
    """Every member of a tar.

    Raises:
        ValueError: the archive ends within a member, or before its end mark: `tarfile` takes what is no header for the end.
    """
    size = archive.stat().st_size
    with tarfile.open(archive, "r:") as content:
        while (member := content.next()) is not None:
            cast(Any, content).members.clear()  # or it would remember them all, a kilobyte each
            if member.isreg() and member.offset_data + member.size > size:
                raise ValueError(f"it ends within {member.name}")
            yield member
        end = content.offset
    with archive.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"there is neither a member nor the end mark at byte {end:,}")


def _hidden(name: str) -> bool:
    *folders, file = name.split("/")
    return file.startswith(".") or any(folder.startswith((".", "__")) for folder in folders)
