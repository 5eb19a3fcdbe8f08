"""Check and resize images in worker processes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from lit_inpaint.data.archives import ArchiveImages
from lit_inpaint.data.image_source import ImageFiles, ImageSource
from lit_inpaint.data.preparation.file_checks import check_file
from lit_inpaint.data.preparation.file_report import FileRecord, FileReport
from lit_inpaint.data.preparation.output_paths import OutputSplit
from lit_inpaint.data.preparation.resize_options import ResizeOptions
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import MAX_FILE_BYTES, UnreadableImageError
from lit_inpaint.storage.output_files import write_output
from lit_inpaint.storage.regular_file import read_regular_file
from lit_inpaint.visualization.progress_bar import progress_bar

_UNKNOWN_SIZE = -1  # of an image in an archive or a binary
_WHOLE_FILE_READERS = (ImageFiles.read, ArchiveImages.read)  # other sources may return a part of the file


class ResizeJob(NamedTuple):
    """One image to process.

    Attributes:
        split_index: index of the split.
        image_index: index of the image in the split.
        output: path of the written file, relative to the output folder.
        known: record of an earlier preparation.
    """

    split_index: int
    image_index: int
    output: str
    known: FileRecord | None


def resize_images(splits: Sequence[OutputSplit], folder: Path, options: ResizeOptions, workers: int, report: FileReport) -> int:
    """Check all images, write resized copies, and append a record for each to the report, in order.

    Args:
        splits: the images.
        folder: output folder.
        options: how to resize.
        workers: number of processes; 0 works in this one.
        report: report of this and earlier preparations.

    Returns:
        Number of images whose earlier record and file are still valid.

    Raises:
        UserError: a file cannot be written, or a process was killed.
    """
    # Workers of a loader leave Ctrl-C to this process, and end when it is killed.
    loader = DataLoader[tuple[FileRecord, bool]](
        _ResizeDataset(splits, folder, options),
        batch_size=None,
        sampler=_jobs(splits, options, report),
        num_workers=workers,
        collate_fn=_identity,
        prefetch_factor=16 if workers else None,
        generator=torch.Generator(),  # otherwise the loader draws its workers' seed from the global generator
    )
    description, total = "preparing" if options.writes else "checking", sum(len(split.source) for split in splits)
    num_reused = 0
    try:
        for record, reused in progress_bar(loader, description=description, unit="image", total=total, delay=1):
            report.append(record)
            num_reused += reused
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError("a process was killed, perhaps out of memory; repeat the command with fewer --workers") from error
    return num_reused


def _jobs(splits: Sequence[OutputSplit], options: ResizeOptions, report: FileReport) -> Iterator[ResizeJob]:
    for number, split in enumerate(splits):
        for index in range(len(split.source)):
            output = split.output_path(index, options.format)
            yield ResizeJob(number, index, output, report.find(output))


class _ResizeDataset(Dataset[tuple[FileRecord, bool]]):
    """Processes jobs in the workers."""

    def __init__(self, splits: Sequence[OutputSplit], folder: Path, options: ResizeOptions) -> None:
        self.splits = splits
        self.folder = folder
        self.options = options

    def __getitem__(self, job: ResizeJob) -> tuple[FileRecord, bool]:
        """Process one image; return its record, and whether that is the earlier one."""
        split = self.splits[job.split_index]
        num_bytes, modified = _file_state(split.source, job.image_index)
        if job.known is not None and self._is_valid(job.known, num_bytes, modified):
            return job.known, True
        location = split.source.location(job.image_index)
        record = FileRecord(location, split.name, job.output, bytes=max(0, num_bytes), modified=modified)
        content = None
        try:
            content = _read_bytes(split.source, job.image_index)
            return self._process(record, split.source, job.image_index, content), False
        except (UnreadableImageError, OSError) as error:
            return record._replace(kinds="empty" if content == b"" else "broken", problem=str(error)), False

    def _process(self, record: FileRecord, source: ImageSource, index: int, content: bytes | None) -> FileRecord:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the report lists it as huge
            image = source.read(index)
        height, width = image.shape[1:]
        kinds = [] if content is None else check_file(content, Path(record.path).suffix)
        if min(height, width) < self.options.size:
            kinds.append("tiny")
        output_bytes = 0
        if self.options.writes:
            is_whole_file = content is not None and type(source).read in _WHOLE_FILE_READERS
            encoded = self.options.encode(image, content if content and is_whole_file else b"", record.path)
            with write_output(self.folder / record.output) as part:
                part.write_bytes(encoded)
            output_bytes = len(encoded)
        return record._replace(
            usable=1,
            kinds=" ".join(kinds),
            width=width,
            height=height,
            bytes=len(content or b""),
            digest=hashlib.blake2b(image.numpy().tobytes() if content is None else content, digest_size=16).hexdigest(),
            output_bytes=output_bytes,
        )

    def _is_valid(self, known: FileRecord, num_bytes: int, modified: int) -> bool:
        """Whether an earlier record is still valid. Unreadable images are tried again: a network may have been down."""
        if not known.usable or known.modified != modified or num_bytes not in (known.bytes, _UNKNOWN_SIZE):
            return False
        if not self.options.writes:
            return True
        with suppress(OSError):
            return (self.folder / known.output).stat().st_size == known.output_bytes
        return False


def _read_bytes(source: ImageSource, index: int) -> bytes | None:
    """Bytes of the file that holds an image; None if it has no file of its own."""
    if isinstance(source, ArchiveImages):
        return source.read_bytes(index)
    return read_regular_file(source[index], MAX_FILE_BYTES) if isinstance(source, ImageFiles) else None


def _file_state(source: ImageSource, index: int) -> tuple[int, int]:
    """Size and modification time (ns) of the file or archive that holds an image; time 0 without either."""
    with suppress(OSError):
        if isinstance(source, ArchiveImages):
            return _UNKNOWN_SIZE, source.root.stat().st_mtime_ns
        if isinstance(source, ImageFiles):
            state = source[index].stat()
            return state.st_size, state.st_mtime_ns
    return _UNKNOWN_SIZE, 0


def _identity(item: Any) -> Any:
    return item
