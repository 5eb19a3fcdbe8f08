"""The output folder: whether it may be used, what lies in it, and what it brings."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint import __version__
from lit_inpaint.data import InpaintingData, Splits, read_image
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.preparation.file_report import FileReport, PreparationSummary
from lit_inpaint.data.preparation.output_paths import NAMES, OutputSplit, same_as, splits_of
from lit_inpaint.data.preparation.resize_images import resize_images
from lit_inpaint.data.preparation.resize_options import ResizeOptions
from lit_inpaint.data.splits import folder_splits
from lit_inpaint.errors import UserError
from lit_inpaint.storage.file_lock import lock_file
from lit_inpaint.storage.output_files import require_writable_folder, write_json

TIMED = 200
"""Most pictures whose reading is timed."""
_TIMED_SECONDS = 10.0
_LOCK = ".lock"
_FIXED = ("data", "root", "seed", "recipe")  # what the folder's earlier preparation must have in common with this one


def prepare(
    data: InpaintingData, lists: Splits, folder: Path | None, recipe: ResizeOptions, workers: int
) -> PreparationSummary:
    """Check every picture of a data set and, unless the recipe only checks, write it anew.

    Args:
        data: the data set.
        lists: its lists; not all empty.
        folder: where everything goes; new, empty, or of an earlier preparation of the same data by the same recipe. None: of a
            check only the counts are kept.
        recipe: what becomes of a picture.
        workers: processes; 0 does it in this one.

    Returns:
        Counts, sizes, and speeds.

    Raises:
        UserError: the folder is of something else, cannot be written, or lies within the data; a split has no usable picture.
        ValueError: a recipe that writes, and no folder.
    """
    splits = splits_of(lists)
    if folder is None:
        if recipe.writes:
            raise ValueError("only a check goes without a folder")
        with tempfile.TemporaryDirectory() as nowhere:
            return _prepare(data, lists, splits, Path(nowhere), recipe, workers)
    _refuse_inside(folder, data, splits)
    require_writable_folder(folder)
    return _prepare(data, lists, splits, folder, recipe, workers)


def _prepare(
    data: InpaintingData, lists: Splits, splits: list[OutputSplit], folder: Path, recipe: ResizeOptions, workers: int
) -> PreparationSummary:
    """As `prepare`, into a folder that has been found fit for it."""
    about = _about(data, lists, splits, recipe)
    fresh = _is_fresh(folder, about)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if fresh:
            (folder / "report.csv").unlink(missing_ok=True)
        write_json(folder / "lists.json", about)
        report = FileReport(folder / "report.csv")
        try:
            known = report.known()
            removed = _remove_strays(folder, splits, recipe, known) if recipe.writes else 0
            places, reused = resize_images(splits, folder, recipe, workers, report, known)
            tally = report.finish(places)
            tally.reused, tally.removed = reused, removed
            for split in splits:
                if not tally.usable[split.name]:
                    raise UserError(f"no {split.name} image can be used; {report.path} says what is wrong with each")
            if recipe.writes:
                _measure(data, splits[0], folder, report, places, tally)
                tally.differs = _difference(splits, folder, recipe, tally, data.seed)
        finally:
            report.close()
        write_json(folder / "lists.json", {**about, "lists": _results(about, splits, folder, recipe, tally), "complete": True})
    return tally


def _about(data: InpaintingData, lists: Splits, splits: list[OutputSplit], recipe: ResizeOptions) -> dict[str, Any]:
    """What `lists.json` says before the work: enough to tell which pictures these are."""
    own = {split.name for split in splits}
    described: dict[str, Any] = {}
    for name, pictures in zip(NAMES, (lists.train, lists.val, lists.test), strict=True):
        described[name] = {"images": len(pictures), "sha256": pictures.digest()}
        if name not in own and len(pictures):
            described[name]["same_as"] = same_as(pictures, splits)
    return {
        "complete": False,
        "data": f"{type(data).__module__}.{type(data).__qualname__}",
        "root": str(Path(data.root).resolve()) if data.root else None,
        "seed": data.seed,
        "split": lists.note,
        "recipe": asdict(recipe),
        "lit_inpaint": __version__,
        "lists": described,
    }


def _results(
    about: dict[str, Any], splits: Sequence[OutputSplit], folder: Path, recipe: ResizeOptions, tally: PreparationSummary
) -> dict[str, Any]:
    """The lists of `_about` with what came of each."""
    described = {name: dict(entry) for name, entry in about["lists"].items()}
    for split in splits:
        described[split.name]["left_out"] = tally.left_out[split.name]
        if recipe.writes:
            digest = list_images(folder / split.name).digest()
            described[split.name]["written"] = {"images": tally.usable[split.name], "sha256": digest}
    return described


def _is_fresh(folder: Path, about: dict[str, Any]) -> bool:
    """Whether the folder has nothing to go on from.

    Raises:
        UserError: it holds something else.
    """
    if not folder.exists() or not {path.name for path in folder.iterdir()} - {_LOCK, ".lists.json.part"}:
        return True
    try:
        before = json.loads((folder / "lists.json").read_text())
        then, now = ({**{key: content[key] for key in _FIXED}, **content["recipe"]} for content in (before, about))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is neither empty nor of an earlier preparation; name another --output") from None
    del then["recipe"], now["recipe"]
    if then == now:
        return False
    if then.get("shorter_side") is None:
        return True  # only a check, whose report may go
    if now["shorter_side"] is None:
        raise UserError(f"{folder} holds prepared images; name another --output for the report of a check")
    differ = "; ".join(f"{key} {then.get(key)}, not {value}" for key, value in now.items() if then.get(key) != value)
    raise UserError(f"{folder} was prepared with {differ}: name another --output, or remove that folder")


def _refuse_inside(folder: Path, data: InpaintingData, splits: Sequence[OutputSplit]) -> None:
    """Keep what is written out of the data set's root, and out of every folder that holds an image of it.

    The folder that all images have in common says nothing: of a list with images on two disks it is `/`.
    """
    full = folder.resolve()
    above = {os.fspath(place) for place in (full, *full.parents)}
    files = [split.pictures for split in splits if isinstance(split.pictures, ImageFiles)]
    holding = {os.path.join(these.root, os.path.dirname(name)) for these in files for name in these.names()}  # noqa: PTH118, PTH120
    for place in [*([data.root] if data.root else []), *sorted(holding)]:
        if os.path.realpath(place) in above:
            raise UserError(f"--output {folder} lies within the images' folder {Path(place)}; name one outside")


def _remove_strays(folder: Path, splits: Sequence[OutputSplit], recipe: ResizeOptions, known: dict[str, int]) -> int:
    """Remove written files whose pictures have left the data set; returns how many.

    Raises:
        UserError: a file that no preparation wrote and this one will not; it would be trained on.
    """
    there = [f"{name}/{below}" for name in NAMES if (folder / name).is_dir() for below in list_images(folder / name).names()]
    if not there:
        return 0
    wanted = {split.output(number, recipe.format) for split in splits for number in range(len(split.pictures))}
    strays = [name for name in there if name not in wanted]
    for name in strays:
        if name not in known:
            raise UserError(f"{folder / name} belongs to no image of the data set; remove it")
        (folder / name).unlink()
    return len(strays)


def _measure(
    data: InpaintingData,
    split: OutputSplit,
    folder: Path,
    report: FileReport,
    places: NDArray[np.int64],
    tally: PreparationSummary,
) -> None:
    """Time how fast one process reads the split's pictures and cuts training views from them, before and after, in turns."""
    pictures, rng = split.pictures, torch.Generator().manual_seed(0)
    spread = np.linspace(0, len(pictures) - 1, min(TIMED, len(pictures))).astype(np.int64).tolist()
    seconds, threads = [0.0, 0.0], torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader's process
    try:
        for number in spread:
            row = report.read(int(places[number]))
            if not row.usable or "huge" in row.kinds.split():  # Pillow would warn of it
                continue
            for timed in (False, True):  # first untimed, so that neither waits for the disk
                for side in (0, 1):
                    begun = time.perf_counter()
                    data.train_transform(read_image(folder / row.output) if side else pictures.read(number), data.size, rng)
                    seconds[side] += timed * (time.perf_counter() - begun)
            tally.timed += 1
            if sum(seconds) > _TIMED_SECONDS:
                break
    finally:
        torch.set_num_threads(threads)
    if tally.timed:
        tally.speed = tally.timed / seconds[0], tally.timed / seconds[1]


def _difference(
    splits: Sequence[OutputSplit], folder: Path, recipe: ResizeOptions, tally: PreparationSummary, seed: int
) -> str:
    """How `Folder` reads what was written differently from the data set's own lists; empty if it does not."""
    lists = folder_splits(folder, seed)
    found = dict(zip(NAMES, (lists.train, lists.val, lists.test), strict=True))
    for split in splits:
        files, usable = found[split.name], tally.usable[split.name]
        if len(files) != usable or not isinstance(files, ImageFiles):
            return f"{len(files):,} {split.name} images are read from there, not {usable:,}"
        written = (split.output(number, recipe.format) for number in range(len(split.pictures)))
        # Each is sought from where the one before was found: those that were left out are passed over.
        if not all(path.relative_to(folder).as_posix() in written for path in files):
            return "its images come in another order, so the same seed draws another sequence of samples"
    return ""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against a second preparation; the system lets go of it however this one ends."""
    with (folder / _LOCK).open("w") as lock:
        try:
            lock_file(lock)
        except BlockingIOError:
            raise UserError(f"another preparation is at work in {folder}; wait for its end, or name another --output") from None
        yield
