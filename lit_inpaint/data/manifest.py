"""Evaluation manifest: the list of evaluated samples, kept beside the results and compared by its hash."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from lit_inpaint.data.inpainting_dataset import EvalDataset

SHORT_DIGEST = 12
"""Number of digits of the hash in messages and tables."""


class Manifest:
    """The samples of an evaluation: images, transforms and masks.

    The text is a CSV. Its header lines start with # and give the seed, the size, the transform, the mask sources by number, and
    a hash of the images' names. Then each sample has a line: its name, its number (the key of its transform and mask), the
    number of its mask source, and its size. The size is the side in pixels; for images in their own sizes it is width x height,
    or "unreadable" where the header is. Two evaluations with the same hash have the same samples, as long as the files of these
    names have the same content.

    Before an evaluation, these are all samples. Afterwards they are the evaluated ones: images that could not be read have no
    lines, and a header line names them.

    Args:
        dataset: the samples.
    """

    def __init__(self, dataset: EvalDataset) -> None:
        self._dataset = dataset
        self.text = "".join(self._lines())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file that `write` writes, 64 hexadecimal digits."""
        return hashlib.sha256(self._content).hexdigest()

    def write(self, path: Path) -> None:
        """Write the text to `path` in UTF-8; file names that are not valid UTF-8 keep their bytes."""
        path.write_bytes(self._content)

    def unreadable(self) -> list[str]:
        """Return the names of the images that were left out, as they could not be read."""
        return [self._dataset.store.source.name(index) for index in self._dataset.unreadable()]

    @property
    def _content(self) -> bytes:
        return self.text.encode(errors="surrogateescape")

    def _lines(self) -> Iterator[str]:
        data, images = self._dataset, self._dataset.store.source
        evaluated = data.evaluated()
        if len(evaluated) < len(data):
            images = images.take(np.array(data.readable(), np.int64))
        yield f"# {len(evaluated):,} samples of {len(images):,} images, seed {data.seed}, {data.crops} crop(s) of each\n"
        for name in self.unreadable():
            yield f"# left out, as it could not be read: {name}\n"
        yield f"# transform: {data.transform}\n"
        for number, source in enumerate(data.masks):
            files = source.fingerprint()
            yield f"# masks {number}: {source}{f', SHA-256 of names and sizes {files}' if files else ''}\n"
        yield f"# images: SHA-256 of their names {images.digest()}\n"
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("name", "sample", "masks", "size"))
        names = list(data.names())
        for number in evaluated:
            writer.writerow((names[number], number, number % len(data.masks), self._size(number)))
        yield table.getvalue()

    def _size(self, number: int) -> int | str:
        data = self._dataset
        if data.transform.square:
            return data.size
        size = data.sizes[number // len(data.masks) % len(data.store)]
        return "unreadable" if size is None else f"{size[1]}x{size[0]}"
