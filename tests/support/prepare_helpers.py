"""Images for tests of preparation, and readers of its output."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from lit_inpaint.data import Folder, InpaintingData, preparation
from lit_inpaint.data.image_source import ImageSource
from lit_inpaint.data.preparation import PreparationSummary, ResizeOptions

OPTIONS = ResizeOptions(size=256, shorter_side=512)


def noise(number: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def fill(folder: Path, count: int, size: tuple[int, int] = (40, 30), suffixes: tuple[str, ...] = ("jpg",)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        noise(number, size).save(folder / f"{number:03}.{suffixes[number % len(suffixes)]}")
    return folder


def write(
    source: Path | InpaintingData, output: Path, options: ResizeOptions = OPTIONS, workers: int = 0
) -> PreparationSummary:
    """Call `prepare` without the command line, whose configuration takes longer than the rest."""
    data = Folder(root=str(source)) if isinstance(source, Path) else source
    return preparation.prepare(data, data.splits(), output, options, workers)


def report(folder: Path) -> dict[str, dict[str, str]]:
    """Read `report.csv` as rows by file name."""
    with (folder / "report.csv").open(newline="", errors="surrogateescape") as file:
        return {row["path"].rpartition("/")[2]: row for row in csv.DictReader(file)}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def written_files(folder: Path) -> dict[str, int]:
    """Modification time of each written image, by path."""
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.glob("*/**/*.*") if path.is_file()}


def names(source: ImageSource) -> list[str]:
    return [source.name(index) for index in range(len(source))]
