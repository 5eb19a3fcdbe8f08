"""Prepare a data set into an output folder: refuse unsafe folders, resume earlier work, record the splits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lit_inpaint import __version__
from lit_inpaint.data import InpaintingData, Splits
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.preparation.file_report import FileReport, PreparationSummary
from lit_inpaint.data.preparation.output_paths import SPLIT_NAMES, OutputSplit, output_splits, same_split
from lit_inpaint.data.preparation.resize_images import resize_images
from lit_inpaint.data.preparation.resize_options import ResizeOptions
from lit_inpaint.data.splits import folder_splits
from lit_inpaint.errors import UserError
from lit_inpaint.storage.file_lock import lock_file
from lit_inpaint.storage.output_files import require_writable_folder, write_json
from lit_inpaint.storage.plain_data import parse_json
from lit_inpaint.storage.user_path import real_path

REPORT, SPLITS = "report.csv", "splits.json"
_LOCK = ".lock"


def prepare(
    data: InpaintingData, splits: Splits, folder: Path | None, options: ResizeOptions, workers: int
) -> PreparationSummary:
    """Check every image of a data set and, unless `options` only check, write resized copies.

    Args:
        data: the data set.
        splits: its splits; not all empty.
        folder: output folder: new, empty, or from an earlier preparation of the same data with the same options. None keeps
            only the counts of a check.
        options: how to resize.
        workers: number of processes; 0 works in this one.

    Returns:
        Counts and sizes.

    Raises:
        UserError: the folder holds something else, cannot be written, or lies within the data; a split has no usable image.
        ValueError: options that write images, without a folder.
    """
    to_write = output_splits(splits)
    content = _splits_json(data, splits, to_write, options)
    if folder is None:
        if options.writes:
            raise ValueError("images cannot be written without a folder")
        with tempfile.TemporaryDirectory() as temporary:
            return _prepare(content, to_write, Path(temporary), options, workers)
    _require_outside(folder, data, to_write)
    require_writable_folder(folder)
    return _prepare(content, to_write, folder, options, workers)


def _prepare(
    content: dict[str, Any], splits: list[OutputSplit], folder: Path, options: ResizeOptions, workers: int
) -> PreparationSummary:
    resumes = _resumes(folder, content)
    folder.mkdir(parents=True, exist_ok=True)
    with _lock_folder(folder):
        if not resumes:
            (folder / REPORT).unlink(missing_ok=True)
        write_json(folder / SPLITS, content)
        with closing(FileReport(folder / REPORT)) as report:
            num_removed = _remove_stale(folder, splits, options, report) if options.writes else 0
            num_reused = resize_images(splits, folder, options, workers, report)
            summary = report.finish()
        summary.num_reused, summary.num_removed = num_reused, num_removed
        for split in splits:
            if not summary.usable[split.name]:
                raise UserError(f"no {split.name} image is usable; {report.path} names the problem of each")
            entry = content["splits"][split.name]
            entry["unusable"] = summary.unusable[split.name]
            if options.writes:
                written = list_images(folder / split.name)
                entry["written"] = {"images": summary.usable[split.name], "sha256": written.digest()}
        if options.writes:
            summary.difference = _compare_with_folder(splits, folder, options, summary, content["seed"])
        write_json(folder / SPLITS, {**content, "complete": True})
    return summary


def _splits_json(data: InpaintingData, splits: Splits, to_write: list[OutputSplit], options: ResizeOptions) -> dict[str, Any]:
    """Content of `splits.json` before any image is processed: identifies data, splits and options."""
    written_names = {split.name for split in to_write}
    entries: dict[str, Any] = {}
    for name, source in zip(SPLIT_NAMES, (splits.train, splits.val, splits.test), strict=True):
        entries[name] = {"images": len(source), "sha256": source.digest()}
        if name not in written_names and len(source):
            entries[name]["same_as"] = same_split(source, to_write)
    return {
        "complete": False,
        "data": f"{type(data).__module__}.{type(data).__qualname__}",
        "root": str(real_path(Path(data.root))) if data.root else None,
        "seed": data.seed,
        "note": splits.note,
        "resize_options": asdict(options),
        "lit_inpaint": __version__,
        "splits": entries,
    }


def _resumes(folder: Path, content: dict[str, Any]) -> bool:
    """Whether the folder holds an earlier preparation of the same data with the same options.

    Raises:
        UserError: it holds something else.
    """
    if not folder.exists() or not {path.name for path in folder.iterdir()} - {_LOCK, f".{SPLITS}.part"}:
        return False
    try:
        earlier, current = (
            {**{key: found[key] for key in ("data", "root", "seed")}, **found["resize_options"]}
            for found in (parse_json((folder / SPLITS).read_bytes()), content)
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is neither empty nor of an earlier preparation; name another --output") from None
    if earlier == current:
        return True
    if earlier.get("shorter_side") is None:
        return False  # an earlier check, whose report may be replaced
    if current["shorter_side"] is None:
        raise UserError(f"{folder} holds prepared images; name another --output for the report of a check")
    changed = [f"{key} {earlier.get(key)}, not {value}" for key, value in current.items() if earlier.get(key) != value]
    raise UserError(f"{folder} was prepared with {'; '.join(changed)}: name another --output, or remove that folder")


def _require_outside(folder: Path, data: InpaintingData, splits: Sequence[OutputSplit]) -> None:
    """Refuse a folder inside the data set's root, or inside a folder that holds an image.

    The common parent of all images is no criterion: for a list of images on two disks it is `/`.
    """
    full = real_path(folder)
    above = {os.fspath(directory) for directory in (full, *full.parents)}
    sources = [split.source for split in splits if isinstance(split.source, ImageFiles)]
    holding = {os.path.join(source.root, os.path.dirname(name)) for source in sources for name in source.names()}  # noqa: PTH118, PTH120
    for directory in [*([data.root] if data.root else []), *sorted(holding)]:
        if os.path.realpath(directory) in above:
            raise UserError(f"--output {folder} lies within the images' folder {Path(directory)}; name one outside")


def _remove_stale(folder: Path, splits: Sequence[OutputSplit], options: ResizeOptions, report: FileReport) -> int:
    """Remove written files whose images are no longer in the data set; return their number.

    Raises:
        UserError: the folder holds an image that no preparation wrote, and that training would read.
    """
    present = [
        f"{name}/{path}" for name in SPLIT_NAMES if (folder / name).is_dir() for path in list_images(folder / name).names()
    ]
    if not present:
        return 0
    expected = {split.output_path(index, options.format) for split in splits for index in range(len(split.source))}
    stale = [name for name in present if name not in expected]
    for name in stale:
        if name not in report:
            raise UserError(f"{folder / name} belongs to no image of the data set; remove it")
        (folder / name).unlink()
    return len(stale)


def _compare_with_folder(
    splits: Sequence[OutputSplit], folder: Path, options: ResizeOptions, summary: PreparationSummary, seed: int
) -> str:
    """Describe how `Folder` reads the output differently from the data set; empty if it does not."""
    read = folder_splits(folder, seed)
    sources = dict(zip(SPLIT_NAMES, (read.train, read.val, read.test), strict=True))
    for split in splits:
        files, usable = sources[split.name], summary.usable[split.name]
        if len(files) != usable or not isinstance(files, ImageFiles):
            return f"{len(files):,} {split.name} images are read from there, not {usable:,}"
        written = (split.output_path(index, options.format) for index in range(len(split.source)))
        # Each search continues after the previous match, so it skips unusable images.
        if not all(path.relative_to(folder).as_posix() in written for path in files):
            return "its images come in another order, so the same seed draws another sequence of samples"
    return ""


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Lock the folder against a second preparation."""
    with (folder / _LOCK).open("w") as lock:
        try:
            lock_file(lock)
        except BlockingIOError:
            raise UserError(f"another preparation uses {folder}; wait until it ends, or name another --output") from None
        yield
