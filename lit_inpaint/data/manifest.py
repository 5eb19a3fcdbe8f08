"""What exactly was evaluated: a list of samples that can be kept beside the results and compared by its hash."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from lit_inpaint.data.inpainting_dataset import EvalDataset

SHORT_DIGEST = 12
"""Digits of the hash that lines and tables show."""


class Manifest:
    """The samples of an evaluation: which pictures, seen how, with which holes.

    A CSV: lines that start with # name the seed, the size, the view, the mask sources by number, and what the pictures are;
    then a line for each sample: its name, its number (from which view and mask are drawn), the mask source's number, its size:
    the side in pixels, or width x height where pictures are shown in their own sizes ("unreadable" where the header is).
    Two evaluations with the same hash showed the same samples, as long as the files of those names hold the same pictures and
    masks.

    Args:
        photos: the samples.
    """

    def __init__(self, photos: EvalDataset) -> None:
        self._photos = photos
        self.text = "".join(self._lines())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file that `write` writes, 64 hexadecimal digits."""
        return hashlib.sha256(self._content).hexdigest()

    def write(self, path: Path) -> None:
        """Write the text to `path`, in UTF-8; a file's name that is none stays the bytes it is."""
        path.write_bytes(self._content)

    @property
    def _content(self) -> bytes:
        return self.text.encode(errors="surrogateescape")

    def _lines(self) -> Iterator[str]:
        photos = self._photos
        yield f"# {len(photos):,} samples of {len(photos.store):,} images, seed {photos.seed}, {photos.crops} view(s) of each\n"
        yield f"# view: {photos.view}\n"
        for number, source in enumerate(photos.masks):
            files = source.fingerprint()
            yield f"# masks {number}: {source}{f', SHA-256 of names and sizes {files}' if files else ''}\n"
        yield f"# images: SHA-256 of their names {photos.store.source.digest()}\n"
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("name", "sample", "masks", "size"))
        for number, name in enumerate(photos.names()):
            writer.writerow((name, number, number % len(photos.masks), self._size(number)))
        yield table.getvalue()

    def _size(self, number: int) -> int | str:
        if self._photos.view.square:
            return self._photos.size
        size = self._photos.sizes[number // len(self._photos.masks) % len(self._photos.store)]
        return "unreadable" if size is None else f"{size[1]}x{size[0]}"
