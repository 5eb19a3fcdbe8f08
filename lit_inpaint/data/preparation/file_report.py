"""`report.csv`: what was found out about each picture, and the memory of a preparation that goes on."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lit_inpaint.storage.output_files import write_output

NAMED = 5
"""Most pictures of a kind that are named."""


class FileRecord(NamedTuple):
    """A line of the report.

    Attributes:
        path: where the picture is.
        split: what it belongs to.
        usable: 1 or 0.
        kinds: what is odd about it, keys of `LEFT_OUT` and `TAKEN`, separated by blanks.
        problem: why it cannot be used, or which file has the same bytes.
        width: as read, in pixels; 0 if it cannot be.
        height: as read, in pixels; 0 if it cannot be.
        bytes: of the file; 0 for a picture that has no file of its own.
        modified: when the file, or the archive that it is in, was changed last, in nanoseconds; 0 likewise.
        digest: BLAKE2b of the file's bytes, or of the pixels of a picture without a file; 32 hexadecimal digits.
        output: the written file, below the output folder; names the picture also where nothing is written.
        output_bytes: of the written file; 0 if there is none.
    """

    path: str
    split: str
    usable: int
    kinds: str
    problem: str
    width: int
    height: int
    bytes: int
    modified: int
    digest: str
    output: str
    output_bytes: int


_NUMBERS = {"usable", "width", "height", "bytes", "modified", "output_bytes"}
_HEAD = (",".join(FileRecord._fields) + "\n").encode()


class FileReport:
    """The table as a file, to which lines are added as pictures are done; a picture's last line stands for its earlier ones.

    What a killed process left of its last line is cut off.

    Args:
        path: of the file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("r+b" if path.exists() else "w+b")
        if self._file.readline() == _HEAD:
            self._file.truncate(len(_HEAD) + sum(len(line) for line in self._file if line.endswith(b"\n")))
        else:
            self._file.truncate(0)
            self._file.seek(0)
            self._file.write(_HEAD)

    def known(self) -> dict[str, int]:
        """Where each picture's last line begins, by `Row.output`."""
        found: dict[str, int] = {}
        place = self._file.seek(len(_HEAD))
        for line in self._file:
            found[_row(line).output] = place
            place += len(line)
        return found

    def read(self, place: int) -> FileRecord:
        """The row whose line begins at `place`."""
        self._file.seek(place)
        return _row(self._file.readline())

    def append(self, row: FileRecord) -> int:
        """Add a line, at once in the file; returns where it begins."""
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(_line(row))
        self._file.flush()
        return place

    def finish(self, places: NDArray[np.int64]) -> PreparationSummary:
        """Leave only the lines that begin at `places`, in that order, with what they share their bytes with, and count them."""
        tally = PreparationSummary()
        with write_output(self.path) as part, part.open("wb") as file:
            file.write(_HEAD)
            for row in self._compared(places):
                tally.count(row)
                file.write(_line(row))
        return tally

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _compared(self, places: NDArray[np.int64]) -> Iterator[FileRecord]:
        """The rows at `places`; of those with the same bytes, all but the first name the first."""
        hashes = np.fromiter(
            (int(self.read(place).digest[:16] or "0", 16) for place in places.tolist()), np.uint64, len(places)
        )
        values, counts = np.unique(hashes, return_counts=True)
        several = set(values[(counts > 1) & (values > 0)].tolist())
        first: dict[str, FileRecord] = {}
        for place, hashed in zip(places.tolist(), hashes.tolist(), strict=True):
            row = self.read(place)
            if row.usable:
                kinds = [kind for kind in row.kinds.split() if kind not in ("duplicate", "shared")]
                earlier = first.setdefault(row.digest, row) if hashed in several else row
                if earlier is not row:
                    kinds.append("duplicate" if earlier.split == row.split else "shared")
                problem = f"same bytes as {earlier.path}" if earlier is not row else ""
                row = row._replace(kinds=" ".join(kinds), problem=problem)
            yield row


@dataclass
class PreparationSummary:
    """What a preparation came to.

    Attributes:
        usable: pictures by split.
        left_out: pictures by split.
        kinds: how many pictures are odd in this way.
        names: the first few of each kind.
        before: bytes of the usable files.
        after: bytes of the written ones.
        reused: pictures that an earlier preparation had finished.
        removed: written files whose pictures are no longer in the data set.
        differs: how reading the output folder differs from reading the data set; empty if it does not.
        speed: pictures a second, read and cut by one process: before and after; None if nothing was timed.
        timed: how many pictures that was.
    """

    usable: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)
    before: int = 0
    after: int = 0
    reused: int = 0
    removed: int = 0
    differs: str = ""
    speed: tuple[float, float] | None = None
    timed: int = 0

    def count(self, row: FileRecord) -> None:
        """Add a picture."""
        if row.usable:
            self.usable[row.split] += 1
            self.before += row.bytes
            self.after += row.output_bytes
        else:
            self.left_out[row.split] += 1
        for kind in row.kinds.split():
            self.kinds[kind] += 1
            if len(named := self.names.setdefault(kind, [])) < NAMED:
                named.append(row.path)


def _row(line: bytes) -> FileRecord:
    cells = next(csv.reader([os.fsdecode(line)]))
    return FileRecord._make(
        int(cell) if name in _NUMBERS else cell for name, cell in zip(FileRecord._fields, cells, strict=True)
    )


def _line(row: FileRecord) -> bytes:
    """A row is one line: breaks within become blanks."""
    text = io.StringIO()
    cells = (" ".join(cell.splitlines()) if isinstance(cell, str) else cell for cell in row)
    csv.writer(text, lineterminator="\n").writerow(cells)
    return os.fsencode(text.getvalue())
