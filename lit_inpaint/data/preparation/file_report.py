"""`report.csv`: one line per image, appended while images are processed, so that a preparation can resume."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lit_inpaint.storage.output_files import write_output

_MAX_NAMED = 5


class FileRecord(NamedTuple):
    """One line of the report.

    Attributes:
        path: location of the image.
        split: "train", "val" or "test".
        output: the written file, relative to the output folder; identifies the image also where no file is written.
        usable: 1 or 0.
        kinds: unusual properties, keys of `UNUSABLE` and `UNUSUAL`, separated by spaces.
        problem: why the image is unusable, or which file has the same bytes.
        width: width in pixels; 0 if the image is unusable.
        height: height in pixels; 0 if the image is unusable.
        bytes: size of the file; 0 for an image without its own file.
        modified: modification time of the file, or of the archive that holds it, in nanoseconds; 0 for an image without either.
        digest: BLAKE2b of the file's bytes, or of the pixels of an image without its own file; 32 hexadecimal digits.
        output_bytes: size of the written file; 0 without one.
    """

    path: str
    split: str
    output: str
    usable: int = 0
    kinds: str = ""
    problem: str = ""
    width: int = 0
    height: int = 0
    bytes: int = 0
    modified: int = 0
    digest: str = ""
    output_bytes: int = 0


_INTEGERS = {"usable", "width", "height", "bytes", "modified", "output_bytes"}
_HEADER = (",".join(FileRecord._fields) + "\n").encode()


@dataclass
class PreparationSummary:
    """Counts of a preparation.

    Attributes:
        usable: number of usable images by split.
        unusable: number of unusable images by split.
        kinds: number of images by unusual property.
        examples: paths of the first few images by unusual property.
        input_bytes: total size of the usable files.
        output_bytes: total size of the written files.
        num_reused: images that an earlier preparation had finished.
        num_removed: written files that were removed, since their images are no longer in the data set.
        difference: how reading the output folder differs from reading the data set; empty if it does not.
    """

    usable: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    input_bytes: int = 0
    output_bytes: int = 0
    num_reused: int = 0
    num_removed: int = 0
    difference: str = ""

    def add(self, record: FileRecord) -> None:
        """Count one image."""
        if record.usable:
            self.usable[record.split] += 1
            self.input_bytes += record.bytes
            self.output_bytes += record.output_bytes
        else:
            self.unusable[record.split] += 1
        for kind in record.kinds.split():
            self.kinds[kind] += 1
            if len(self.examples[kind]) < _MAX_NAMED:
                self.examples[kind].append(record.path)


class FileReport:
    """The report as a log: a run appends a line for every image, and the last line of an image is valid.

    A killed process may leave an incomplete last line, which is cut off; so is all from a damaged line on.
    Only offsets of lines are kept in memory.

    Args:
        path: the file, which is created if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._offsets: dict[str, int] = {}
        end = 0
        for line in self._file:
            if not line.endswith(b"\n") or (end == 0 and line != _HEADER):
                break
            if end:
                try:
                    self._offsets[_parse(line).output] = end
                except (ValueError, csv.Error):  # edited or damaged; images from here on are processed again
                    break
            end += len(line)
        self._file.truncate(end)
        self._start = end or self._write(_HEADER)

    def __contains__(self, output: str) -> bool:
        return output in self._offsets

    def find(self, output: str) -> FileRecord | None:
        """Read the record of an earlier run for `output`, if there is one."""
        if (offset := self._offsets.get(output)) is None:
            return None
        self._file.seek(offset)
        return _parse(self._file.readline())

    def append(self, record: FileRecord) -> None:
        """Append a line and flush it."""
        self._write(_format(record))

    def finish(self) -> PreparationSummary:
        """Rewrite the file with the lines of this run alone, mark files with equal bytes, and count all images."""
        summary = PreparationSummary()
        with write_output(self.path) as part, part.open("wb") as file:
            file.write(_HEADER)
            for record in self._mark_duplicates():
                summary.add(record)
                file.write(_format(record))
        return summary

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: bytes) -> int:
        """Append `line`; return the new size of the file."""
        size = self._file.seek(0, os.SEEK_END) + self._file.write(line)
        self._file.flush()
        return size

    def _records(self) -> Iterator[FileRecord]:
        """Read the records of this run, in the order of the images."""
        self._file.seek(self._start)
        yield from map(_parse, self._file)

    def _mark_duplicates(self) -> Iterator[FileRecord]:
        """Yield the records of this run; of usable files with equal bytes, all but the first name the first."""
        prefixes = np.fromiter((int(record.digest[:16] or "0", 16) for record in self._records()), np.uint64)
        values, counts = np.unique(prefixes, return_counts=True)
        repeated = set(values[(counts > 1) & (values > 0)].tolist())  # so that few digests are kept in memory as text
        first: dict[str, FileRecord] = {}
        for record, prefix in zip(self._records(), prefixes.tolist(), strict=True):
            if not record.usable:
                yield record
                continue
            kinds = [kind for kind in record.kinds.split() if kind not in ("duplicate", "overlap")]
            earlier = first.setdefault(record.digest, record) if prefix in repeated else record
            if earlier is not record:
                kinds.append("duplicate" if earlier.split == record.split else "overlap")
            problem = f"same bytes as {earlier.path}" if earlier is not record else ""
            yield record._replace(kinds=" ".join(kinds), problem=problem)


def _parse(line: bytes) -> FileRecord:
    """Parse one line.

    Raises:
        ValueError: a column is missing, or is no number where it should be.
        csv.Error: the line is no CSV.
    """
    cells = next(csv.reader([os.fsdecode(line)]), [])
    record = FileRecord._make(
        int(cell) if name in _INTEGERS else cell for name, cell in zip(FileRecord._fields, cells, strict=True)
    )
    int(record.digest or "0", 16)
    return record


def _format(record: FileRecord) -> bytes:
    """Format a record as one line; line breaks within cells become spaces."""
    text = io.StringIO()
    cells = (" ".join(cell.splitlines()) if isinstance(cell, str) else cell for cell in record)
    csv.writer(text, lineterminator="\n").writerow(cells)
    return os.fsencode(text.getvalue())
