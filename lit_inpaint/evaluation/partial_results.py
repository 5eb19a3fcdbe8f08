"""Evaluations that were interrupted: what each method scored so far, kept in a file until the evaluation is through."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lit_inpaint import __version__
from lit_inpaint.data.archives import ArchiveImages
from lit_inpaint.data.datasets.stl10 import STL10Binary
from lit_inpaint.data.image_source import ImageFiles, ImageSource
from lit_inpaint.errors import UserError
from lit_inpaint.metrics import Protocol
from lit_inpaint.storage.file_lock import lock_file


class SampleScore(NamedTuple):
    """One sample as one method filled it: its name, its hole share, its scores in the order of the protocol."""

    name: str
    share: float
    scores: Sequence[float]


class PartialResults:
    """The file in which an evaluation can go on after a Ctrl-C or a crash; it is gone when the evaluation is through.

    A line of JSON for each batch and method. A line holds for the method's key alone, so another checkpoint, other samples or
    another protocol never take over what they must not; what was cut off while being written is done again. Two evaluations at
    the same time cannot write one file: the first locks it.

    Args:
        path: the file; need not exist.
        keys: of the methods, from `key_of`.

    Raises:
        UserError: the file cannot be written, or another evaluation is writing it.
    """

    def __init__(self, path: Path, keys: Mapping[str, str]) -> None:
        self.path = path
        self._keys = dict(keys)
        self._found: dict[str, dict[int, SampleScore]] = {method: {} for method in keys}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            _lock(self._file, path)
            self._file.truncate(self._read())  # or the next line would be written to the end of a broken one
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror or error}); name another --output") from error

    def count(self) -> int:
        """How many samples, from the first one on, every method has been through."""
        first = 0
        while self._found and all(first in found for found in self._found.values()):
            first += 1
        return first

    def has(self, method: str, first: int, count: int) -> bool:
        """Whether `method` has been through samples `first` to `first + count - 1`."""
        return all(place in self._found[method] for place in range(first, first + count))

    def sample(self, method: str, place: int) -> SampleScore:
        """What was kept of sample number `place`."""
        return self._found[method][place]

    def add(self, method: str, first: int, samples: Sequence[SampleScore]) -> None:
        """Keep what `method` scored on the samples from number `first` on.

        Raises:
            UserError: the disk is full.
        """
        self._found[method] |= dict(enumerate(samples, start=first))
        line = {"key": self._keys[method], "first": first, "samples": samples}
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot write {self.path} ({error.strerror or error}); free some space, then repeat") from error

    def finish(self) -> None:
        """The evaluation is through: remove the file."""
        self.path.unlink(missing_ok=True)  # while it is locked, or another evaluation could have begun to write it
        self._file.close()

    def _read(self) -> int:
        """Take in what is there of our keys; how many bytes of the file are whole lines."""
        methods = {key: method for method, key in self._keys.items()}
        whole = 0
        self._file.seek(0)  # and not opened once more: closing that would end the lock
        for line in self._file.read().splitlines(keepends=True):
            try:
                entry: dict[str, Any] = json.loads(line)
                samples = [SampleScore(*sample) for sample in entry["samples"]]
                key, first = entry["key"], int(entry["first"])
            except (ValueError, TypeError, KeyError):
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            if key in methods:
                self._found[methods[key]] |= dict(enumerate(samples, start=first))
        return whole


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        lock_file(file)
    except BlockingIOError as error:
        file.close()
        raise UserError(f"{path} is being written by another evaluation; wait for it, or name another --output") from error
    except OSError:
        pass  # a file system without locks


def stamp_of(pictures: ImageSource) -> str:
    """What the pictures are known by beside their names: a hash of their files' absolute paths, sizes and times."""
    files: Iterable[Path | str]
    if isinstance(pictures, ArchiveImages):
        files = [pictures.root]
    elif isinstance(pictures, STL10Binary):
        files = [pictures.path]
    elif isinstance(pictures, ImageFiles):
        files = pictures
    else:
        files = map(pictures.location, range(len(pictures)))
    digest = hashlib.sha256()
    for file in files:
        line: list[object] = [os.path.abspath(file)]  # noqa: PTH100 (many paths)
        with suppress(OSError):  # what cannot be asked for is known by its path alone
            state = os.stat(file)  # noqa: PTH116
            line += [state.st_size, state.st_mtime_ns]
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def key_of(what: Path | str, protocol: Protocol, manifest: str, pictures: str) -> str:
    """What an interrupted evaluation is known by: a hash of the method, the samples, and how they are measured.

    Args:
        what: a checkpoint's file, whose bytes count, or the name of a method that has none.
        protocol: with the measures that were added to it.
        manifest: the hash of the samples, which knows pictures by their names.
        pictures: from `stamp_of`.
    """
    digest = hashlib.sha256()
    if isinstance(what, Path):
        with what.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    else:
        digest.update(what.encode())
    measured = [__version__, protocol.name, [measure.name for measure in protocol.metrics], manifest, pictures]
    digest.update(json.dumps(measured).encode())
    return digest.hexdigest()
