"""Read image files inside zip and tar archives, without unpacking them."""

from __future__ import annotations

import os
import tarfile
import weakref
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.data import list_image_files
from lit_inpaint.data.file_index import FileIndex, join_names
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.list_image_files import warn_skipped
from lit_inpaint.errors import UserError
from lit_inpaint.storage.find_images import SUFFIXES, describe_skipped, other_format
from lit_inpaint.storage.image_decode import MAX_FILE_BYTES, UnreadableImageError, decode_image, decode_shape, num_frames

READABLE_SUFFIXES = (".zip", ".tar")
"""Archives whose members can be read in any order."""
UNPACK_COMMANDS = {
    ".tar.gz": "tar -xzf",
    ".tgz": "tar -xzf",
    ".tar.bz2": "tar -xjf",
    ".tbz2": "tar -xjf",
    ".tar.xz": "tar -xJf",
}
"""Archives that are one compressed stream, readable from the beginning only, and the command that unpacks them."""
TEXT_SUFFIXES = (".txt", ".csv", ".flist")
"""Members that are listed beside images: lists of images, which some archives contain."""
MAX_UNPACKED_BYTES = 2**29
"""Largest accepted size of a compressed member in bytes: deflate packs zeros a thousand to one."""
_TAR = 255  # in place of a zip method: uncompressed, without a header before the content or a checksum


class ArchiveImages(ImageFiles):
    """Image files in a zip or tar archive. `location` is `archive.zip/member`.

    A member is read by its offset with `pread`, which does not move the file position. So threads and forked loader processes
    share one open file. A zip has a checksum for each member, which is verified at every read.

    Args:
        root: the archive.
        names: the members' paths, as in `ImageFiles`.
        ends: as in `ImageFiles`.
        entries: (N, 4) for each member: offset, stored size in bytes, zip method (255 in a tar), CRC-32 (0 in a tar).
    """

    def __init__(self, root: Path, names: bytes, ends: Indices, entries: Indices) -> None:
        super().__init__(root, names, ends)
        self._entries = entries

    @classmethod
    def from_files(cls, files: ImageFiles, entries: Indices) -> Self:
        """Create from the members' paths and entries."""
        return cls(files.root, files._names, files._ends, entries)

    def read(self, index: int) -> Tensor:
        """See `ImageSource`."""
        return decode_image(self.read_bytes(index), self.location(index))

    def shape(self, index: int) -> tuple[int, int]:
        """See `ImageSource`."""
        return decode_shape(self.read_bytes(index), self.location(index))

    def num_frames(self, index: int) -> int:
        """See `ImageSource`."""
        return num_frames(self.read_bytes(index), self.location(index))

    def read_bytes(self, index: int) -> bytes:
        """Read the content of member `index`.

        Raises:
            UnreadableImageError: the archive is gone, or damaged at this member.
        """
        method, checksum = self._entries[index, 2:].tolist()
        try:
            content = self._read_stored(index)
            if method == zipfile.ZIP_DEFLATED:
                content = _inflate(content)
            if method != _TAR and zlib.crc32(content) != checksum:
                raise ValueError("its checksum is wrong")
        except (OSError, ValueError, zlib.error) as error:
            raise UnreadableImageError(f"cannot read {self.location(index)}: {error}; the archive is damaged there") from error
        return content

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the open file, which other processes cannot use."""
        return {name: value for name, value in vars(self).items() if name != "_file"}

    def _new(self, names: bytes, ends: Indices, indices: Indices) -> Self:
        return type(self)(self.root, names, ends, self._entries[indices])

    def _read_stored(self, index: int) -> bytes:
        """Read the member as it is stored, possibly compressed."""
        start, size, method, _ = self._entries[index].tolist()
        if size > MAX_FILE_BYTES:
            raise ValueError(f"{size:,} bytes, more than {MAX_FILE_BYTES:,}")
        if method == _TAR:
            content = os.pread(self._file, size, start)
        else:
            # A zip member follows a header of variable length: 30 bytes, the name, and optional fields, mostly below 64 bytes.
            expected = 30 + len(self._encoded_path(index)) + 64
            found = os.pread(self._file, expected + size, start)
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


def _inflate(packed: bytes) -> bytes:
    """Decompress raw deflate data.

    Raises:
        ValueError: the data is cut off, or expands beyond `MAX_UNPACKED_BYTES`.
        zlib.error: the data is damaged.
    """
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    content = unpacker.decompress(packed, MAX_UNPACKED_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
    if not unpacker.eof:
        raise ValueError("it is cut off")
    return content


def is_archive(path: Path) -> bool:
    """Return whether `path` is a file with the suffix of a readable archive.

    Raises:
        UserError: the archive has to be unpacked; the message has the command.
    """
    if not path.is_file():
        return False
    for suffix, command in UNPACK_COMMANDS.items():
        if path.name.lower().endswith(suffix):
            raise UserError(f"{path} has to be unpacked, its images cannot be read in place: {command} {path} -C {path.parent}")
    return path.name.lower().endswith(READABLE_SUFFIXES)


def list_archive(archive: Path) -> ArchiveImages:
    """List the images and text files in a zip or tar archive, sorted by path; hidden files and folders are left out.

    A warning counts the images in formats that are not read. From `list_image_files.MIN_INDEXED_FILES` files on, the list is
    cached together with the archive's size and modification time. To list a tar, all of it has to be read: minutes for Places2
    on a hard disk.

    Raises:
        UserError: the file is not an archive, is truncated, or stores its images in a way that cannot be read in place.
    """
    archive = Path(archive)
    index = FileIndex(os.fsencode(archive.absolute()) + b"/members")
    status = archive.stat()
    stamp = np.array([status.st_size, status.st_mtime_ns], np.int64)

    def restore(arrays: Mapping[str, NDArray[Any]]) -> ArchiveImages | None:
        if "skipped" not in arrays or not np.array_equal(arrays["stamp"], stamp):
            return None
        warn_skipped(os.fsdecode(arrays["skipped"].tobytes()))
        return ArchiveImages.from_files(ImageFiles.from_joined_names(archive, arrays["names"].tobytes()), arrays["entries"])

    def build() -> ArchiveImages:
        names, entries, other_formats = _list_members(archive)
        skipped = describe_skipped(archive, other_formats)
        if len(names) >= list_image_files.MIN_INDEXED_FILES:
            text = np.frombuffer(os.fsencode(skipped), np.uint8)
            index.save(status.st_mtime, names=join_names(names), entries=entries, stamp=stamp, skipped=text)
        warn_skipped(skipped)
        return ArchiveImages.from_files(ImageFiles.from_names(archive, names), entries)

    return index.load_or_build(restore, build)


def _list_members(archive: Path) -> tuple[list[str], Indices, Counter[str]]:
    """Return the members' names, sorted, their entries (see `ArchiveImages`), and the number of other images by suffix."""
    names: list[str] = []
    other_formats = Counter[str]()
    numbers = array("q")
    members = _zip_members(archive) if archive.name.lower().endswith(".zip") else _tar_members(archive)
    try:
        for name, *entry in members:
            name = name.removeprefix("./")
            if name.lower().endswith(SUFFIXES + TEXT_SUFFIXES) and not _is_hidden(name):
                if entry[2] not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, _TAR):
                    raise UserError(
                        f"{archive} has to be unpacked, {name!r} is packed by a method (number {entry[2]}) not read here"
                    )
                names.append(name)
                numbers.extend(entry)
            elif (suffix := other_format(name)) and not _is_hidden(name):
                other_formats[suffix] += 1
    except (OSError, ValueError, IndexError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise UserError(f"{archive} is no whole archive ({' '.join(str(error).split())}); copy or fetch it again") from error
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    names.sort()
    # Of several members with one name, unpacking leaves the last.
    last = [position for position, name in enumerate(names) if names[position + 1 : position + 2] != [name]]
    entries = np.array(numbers, np.int64).reshape(-1, 4)[order[np.array(last, np.int64)]]
    return [names[position] for position in last], entries, other_formats


def _zip_members(archive: Path) -> Iterator[tuple[str, int, int, int, int]]:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            if member.flag_bits & 1:
                raise UserError(f"{archive} has to be unpacked, {member.filename!r} is encrypted")
            if not member.is_dir():
                yield member.filename, member.header_offset, member.compress_size, member.compress_type, member.CRC


def _tar_members(archive: Path) -> Iterator[tuple[str, int, int, int, int]]:
    links: list[tuple[str, str]] = []
    for member in _tar_headers(archive):
        if member.isreg():
            yield member.name, member.offset_data, member.size, _TAR, 0
        elif member.islnk():
            links.append((member.name, member.linkname))
    if not links:
        return
    # Few archives have hard links. Those are read a second time, so that the others need not keep all names in memory.
    targets = {target for _, target in links}
    entries = {
        member.name: (member.offset_data, member.size)
        for member in _tar_headers(archive)
        if member.isreg() and member.name in targets
    }
    for name, target in links:
        if target not in entries:
            raise ValueError(f"{name!r} links to {target!r}, which is not in it")
        entries[name] = entries[target]  # for a link to a link
        yield name, *entries[target], _TAR, 0


def _tar_headers(archive: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the header of every member of a tar.

    Raises:
        ValueError: the archive ends within a member or before its end mark; `tarfile` takes any invalid header for the end.
    """
    size = archive.stat().st_size
    with tarfile.open(archive, "r:") as content:
        while (member := content.next()) is not None:
            cast(Any, content).members.clear()  # `tarfile` would keep them all, a kilobyte each
            if member.isreg() and member.offset_data + member.size > size:
                raise ValueError(f"it ends within {member.name}")
            yield member
        end = content.offset
    with archive.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"there is neither a member nor the end mark at byte {end:,}")


def _is_hidden(name: str) -> bool:
    *folders, file = name.split("/")
    return file.startswith(".") or any(folder.startswith((".", "__")) for folder in folders)
