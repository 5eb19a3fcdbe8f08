"""Pictures checked and written, by as many processes as there are cores."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from lit_inpaint.data.archives import ArchiveImages
from lit_inpaint.data.image_decode import UnreadableImageError
from lit_inpaint.data.image_source import ImageFiles, ImageSource
from lit_inpaint.data.preparation.file_checks import check_file
from lit_inpaint.data.preparation.file_report import FileRecord, FileReport
from lit_inpaint.data.preparation.output_paths import OutputSplit
from lit_inpaint.data.preparation.resize_options import ResizeOptions
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import write_output
from lit_inpaint.visualization.progress_bar import progress_bar

_NOT_ASKED = -1  # how many bytes a picture has that lies in an archive or a binary
_PLAIN = (ImageFiles.read, ArchiveImages.read)  # these show all of a file, as others may not


class ResizeJob(NamedTuple):
    """A picture to do, by split and number, and what an earlier preparation says of it."""

    split: int
    number: int
    output: str
    known: FileRecord | None


class ResizeResult(NamedTuple):
    """What became of a picture; without a row, why nothing can be written at all."""

    row: FileRecord | None
    reused: bool = False
    refused: str = ""


def resize_images(
    splits: Sequence[OutputSplit], folder: Path, recipe: ResizeOptions, workers: int, report: FileReport, known: dict[str, int]
) -> tuple[NDArray[np.int64], int]:
    """Do all pictures and note them in the report.

    Args:
        splits: all pictures.
        folder: to write into.
        recipe: what becomes of them.
        workers: processes; 0 does it in this one.
        report: of this and earlier preparations.
        known: its `known()`.

    Returns:
        Where each picture's line begins, in their order, and how many pictures were done before.

    Raises:
        UserError: something cannot be written, or a process was killed.
    """
    jobs = _Jobs(splits, recipe, report, known)
    # The loader's processes leave Ctrl-C to this one, and end when it is killed.
    loader = DataLoader[ResizeResult](
        _Pictures(splits, folder, recipe),
        batch_size=None,
        sampler=jobs,
        num_workers=workers,
        collate_fn=_as_it_is,
        prefetch_factor=16 if workers else None,
        generator=torch.Generator(),  # or the loader would draw its workers' seed from the global one
    )
    places, reused = np.zeros(len(jobs), np.int64), 0
    doing = "preparing" if recipe.writes else "checking"
    bar = progress_bar(loader, description=doing, unit="image", total=len(jobs), delay=1)
    try:
        for place, outcome in enumerate(bar):
            if outcome.row is None:
                raise UserError(outcome.refused)
            reused += outcome.reused
            places[place] = known[outcome.row.output] if outcome.reused else report.append(outcome.row)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "a process was killed, perhaps for want of memory; give the same command with fewer --workers"
        ) from error
    return places, reused


class _Jobs(Sampler[ResizeJob]):
    """All pictures in their order, with what is known of them; asked for as processes get free."""

    def __init__(self, splits: Sequence[OutputSplit], recipe: ResizeOptions, report: FileReport, known: dict[str, int]) -> None:
        self.splits = splits
        self.recipe = recipe
        self.report = report
        self.known = known

    def __len__(self) -> int:
        return sum(len(split.pictures) for split in self.splits)

    def __iter__(self) -> Iterator[ResizeJob]:
        for place, split in enumerate(self.splits):
            for number in range(len(split.pictures)):
                output = split.output(number, self.recipe.format)
                known = self.known.get(output)
                yield ResizeJob(place, number, output, None if known is None else self.report.read(known))


class _Pictures(Dataset[ResizeResult]):
    """Checks and writes the picture of a `Job`; what the processes share."""

    def __init__(self, splits: Sequence[OutputSplit], folder: Path, recipe: ResizeOptions) -> None:
        self.splits = splits
        self.folder = folder
        self.recipe = recipe

    def __getitem__(self, job: ResizeJob) -> ResizeResult:
        """Do a picture, unless that is done. An error would lose its kind between processes, so it comes as a value."""
        split = self.splits[job.split]
        pictures, number = split.pictures, job.number
        size, modified = _stamp(pictures, number)
        if job.known is not None and self._stands(job.known, size, modified):
            return ResizeResult(job.known, reused=True)
        row = FileRecord(
            path=pictures.location(number),
            split=split.name,
            usable=0,
            kinds="",
            problem="",
            width=0,
            height=0,
            bytes=max(0, size),
            modified=modified,
            digest="",
            output=job.output,
            output_bytes=0,
        )
        content = None
        try:
            content = _content(pictures, number)
            return ResizeResult(self._done(row, pictures, number, content))
        except (UnreadableImageError, OSError) as error:
            return ResizeResult(row._replace(kinds="empty" if content == b"" else "broken", problem=str(error)))
        except UserError as error:
            return ResizeResult(None, refused=str(error))

    def _done(self, row: FileRecord, pictures: ImageSource, number: int, content: bytes | None) -> FileRecord:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the report says that it is huge
            picture = pictures.read(number)
        height, width = picture.shape[1:]
        kinds = [] if content is None else check_file(content, Path(row.path).suffix)
        if min(height, width) < self.recipe.size:
            kinds.append("tiny")
        if self.recipe.writes:
            whole = content if content is not None and type(pictures).read in _PLAIN else b""
            encoded = self.recipe.encode(picture, whole, row.path)
            with write_output(self.folder / row.output) as part:
                part.write_bytes(encoded)
            row = row._replace(output_bytes=len(encoded))
        hashed = hashlib.blake2b(picture.numpy().tobytes() if content is None else content, digest_size=16)
        return row._replace(
            usable=1, kinds=" ".join(kinds), width=width, height=height, bytes=len(content or b""), digest=hashed.hexdigest()
        )

    def _stands(self, known: FileRecord, size: int, modified: int) -> bool:
        """Whether the line still holds. What could not be read is tried again: a network may have been down."""
        if not known.usable or known.modified != modified or size not in (known.bytes, _NOT_ASKED):
            return False
        if not self.recipe.writes:
            return True
        with suppress(OSError):
            return (self.folder / known.output).stat().st_size == known.output_bytes
        return False


def _content(pictures: ImageSource, number: int) -> bytes | None:
    """The bytes of the file that a picture is in; None for one without."""
    if isinstance(pictures, ArchiveImages):
        return pictures.read_bytes(number)
    return pictures[number].read_bytes() if isinstance(pictures, ImageFiles) else None


def _stamp(pictures: ImageSource, number: int) -> tuple[int, int]:
    """Bytes, and when it was changed last in nanoseconds, of the file that a picture is in, or of the archive; else zero."""
    with suppress(OSError):
        if isinstance(pictures, ArchiveImages):
            return _NOT_ASKED, pictures.root.stat().st_mtime_ns
        if isinstance(pictures, ImageFiles):
            found = pictures[number].stat()
            return found.st_size, found.st_mtime_ns
    return _NOT_ASKED, 0


def _as_it_is(outcome: Any) -> Any:
    return outcome
