"""Print what a preparation will do, which unusual files it found, and what it wrote."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

from lit_inpaint.data import InpaintingData, Splits
from lit_inpaint.data.preparation.file_checks import UNUSABLE, UNUSUAL
from lit_inpaint.data.preparation.file_report import PreparationSummary
from lit_inpaint.data.preparation.prepare_folder import REPORT, SPLITS
from lit_inpaint.data.preparation.resize_options import ResizeOptions

_MIN_WIDTH, _MAX_WIDTH = 60, 128  # columns


def print_plan(data: InpaintingData, splits: Splits, options: ResizeOptions, folder: Path | None) -> None:
    """Print the sizes of the splits, and how images will be resized."""
    counts = f"{len(splits.train):,} train, {len(splits.val):,} val, {len(splits.test):,} test"
    _print(f"{type(data).__name__}{f' {data.root}' if data.root else ''}: {counts} images ({splits.note})")
    if options.writes:
        encoding = f"JPEG of quality {options.quality}" if options.format == "jpg" else "PNG"
        _print(f"Shorter side at most {options.shorter_side} px, for samples of {options.size} px; {encoding}; into {folder}")


def print_findings(summary: PreparationSummary, data: InpaintingData) -> None:
    """Print the number and first names of unusable files, then those of unusual ones."""
    usable, unusable = summary.usable.total(), summary.unusable.total()
    root = Path(data.root or "/")
    _print(f"{usable + unusable:,} images checked: {usable:,} usable, {unusable:,} unusable")
    for title, kinds in (("unusable", UNUSABLE), ("unusual, but usable", UNUSUAL)):
        found = [kind for kind in kinds if summary.kinds[kind]]
        if found:
            print(f"  {title}:")
        for kind in found:
            names = [name.removeprefix(f"{root}/").removeprefix(f"{root.absolute()}/") for name in summary.examples[kind]]
            more = ", …" if summary.kinds[kind] > len(names) else ""
            _print(f"{summary.kinds[kind]:9,} {kind:12}  {kinds[kind]}: {', '.join(names)}{more}", indent=26)


def print_result(summary: PreparationSummary, options: ResizeOptions, folder: Path) -> None:
    """Print sizes, reused and removed files, and where the report is."""
    if options.writes:
        parts = [f"{summary.usable.total():,} images in {folder}, {_format_bytes(summary.output_bytes)}"]
        if summary.input_bytes:
            parts.append(f"before: {_format_bytes(summary.input_bytes)}")
        if summary.num_reused:
            parts.append(f"{summary.num_reused:,} were finished before")
        if summary.num_removed:
            parts.append(f"{summary.num_removed:,} no longer in the data set were removed")
        _print("; ".join(parts))
    if summary.difference:
        _print(f"warning: read as a folder, the output differs from the data set: {summary.difference}")
    _print(f"Every image: {folder / REPORT}; hashes of the splits: {folder / SPLITS}")


def _print(text: str, indent: int = 2) -> None:
    """Print a line, wrapped to the terminal's width, or to 100 columns without a terminal."""
    text = text.encode(errors="replace").decode()  # a file name in another encoding
    width = min(_MAX_WIDTH, max(_MIN_WIDTH, shutil.get_terminal_size((100, 24)).columns))
    print(textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False))


def _format_bytes(count: int) -> str:
    exponent, unit = next(((n, unit) for n, unit in ((30, "GiB"), (20, "MiB")) if count >= 2**n), (10, "KiB"))
    return f"{count / 2**exponent:,.1f} {unit}"
