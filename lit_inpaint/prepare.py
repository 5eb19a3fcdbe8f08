"""Check a data set and resize it once for all runs: `python -m lit_inpaint.prepare --data DIR --output DIR`."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lit_inpaint.config import entry_point, load_yaml
from lit_inpaint.config.command_line import CommandParser, build_data, whole_number
from lit_inpaint.config.load_dataset import load_dataset
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import require_folder_name

if TYPE_CHECKING:
    from lit_inpaint.data import InpaintingData
    from lit_inpaint.data.preparation import ResizeOptions

_EPILOG = """
The data set is a folder of images, a class of lit_inpaint.data (--data CelebA), a YAML file, or the data of
an experiment. Any setting of the data can be given by its place in the YAML: --data.root DIR  --data.seed 1

The output has one folder per split (train/, val/, test/), so `fit --data.root OUTPUT` trains on the identical
split. Images are reduced, never enlarged, to the resolution that the transforms of training and evaluation
need. --shorter_side sets another one, and is required for transforms that crop at the images' own resolution.
report.csv has a line per image; splits.json has the hashes of the splits and all options.

After an interruption the same command resumes; finished images are not processed again. Exit status: 0 done;
1 done, but with --strict and unusable images; 2 a mistake, or the output cannot be written; 130 after Ctrl-C;
143 after SIGTERM.
"""


def main(argv: list[str]) -> int:
    """Check and resize a data set; return the exit status."""
    options, data_options = _parser().parse_with_data(argv)
    if options.output is None and not options.check_only:
        raise UserError("name the folder to write into: --output DIR; or only check: --check_only")
    if options.output is not None:
        require_folder_name(options.output)
    if options.size is not None:
        data_options = ["--data.size", str(options.size), *data_options]
    by_experiment = options.experiment is not None
    config = load_yaml.load_experiment(options.experiment) if by_experiment else load_dataset(options.data, data_options)
    data, _ = build_data(config, data_options)

    from lit_inpaint.data.preparation import prepare, print_summary
    from lit_inpaint.data.workers import available_cores

    entry_point.silence_warnings()
    splits = data.splits()
    if not any(map(len, (splits.train, splits.val, splits.test))):
        layout = f"put {data.expected_layout} there, or name another folder"
        raise UserError(f"{type(data).__name__}: no images at {data.root}; {layout}")
    resize_options = _resize_options(data, options)
    folder = None if options.output is None else Path(options.output)
    print_summary.print_plan(data, splits, resize_options, folder)
    with _exit_on_sigterm():
        workers = available_cores() if options.workers is None else options.workers
        summary = prepare(data, splits, folder, resize_options, workers)
    print_summary.print_findings(summary, data)
    if folder is not None:
        print_summary.print_result(summary, resize_options, folder)
        if resize_options.writes:
            print(f"To train on it:\n  python -m lit_inpaint.fit {_fit_options(folder, options.experiment)}")
    return int(options.strict and bool(summary.unusable.total()))


def _parser() -> CommandParser:
    parser = CommandParser("prepare", "Check every image of a data set, and write resized copies for faster reading.", _EPILOG)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="DIR|CLASS|FILE", help="folder of images, class of data set, or YAML file")
    source.add_argument("--experiment", metavar="NAME|FILE", help="use the data of this experiment")
    parser.add_argument("--output", metavar="DIR", help="folder to write into, outside the images' own")
    parser.add_argument(
        "--size", metavar="N", type=whole_number(1), help="side of the samples (default: the data's, mostly 256)"
    )
    parser.add_argument(
        "--shorter_side", metavar="N", type=whole_number(1), help="max shorter side (default: what the transforms need)"
    )
    parser.add_argument(
        "--format", choices=("jpg", "png"), default="jpg", help="png is lossless but slower to read (default: jpg)"
    )
    parser.add_argument(
        "--quality", metavar="N", type=whole_number(1), default=95, help="JPEG quality, up to 100 (default: 95)"
    )
    parser.add_argument("--workers", metavar="N", type=whole_number(0), help="number of processes (default: one per core)")
    parser.add_argument("--check_only", action="store_true", help="write no images; --output may be left out")
    parser.add_argument("--strict", action="store_true", help="exit with status 1 if an image is unusable")
    return parser


def _resize_options(data: InpaintingData, options: argparse.Namespace) -> ResizeOptions:
    from lit_inpaint.data import preparation

    shorter_side = options.shorter_side
    if options.check_only:
        return preparation.ResizeOptions(data.size, None)
    if shorter_side is None:
        required = []
        for transform in (data.train_transform, data.val_transform):
            if (side := preparation.required_shorter_side(transform, data.size)) is None:
                name = type(transform).__name__
                raise UserError(f"{name} may crop images at their own resolution; give the size to keep: --shorter_side N")
            required.append(side)
        shorter_side = max(required)
    return preparation.ResizeOptions(data.size, shorter_side, options.format, options.quality)


def _fit_options(folder: Path, experiment: str | None) -> str:
    """Options of `fit` that train on the output; with `Folder` where the experiment's own data set refuses that folder."""
    root = f"--data.root {shlex.quote(str(folder))}"
    if experiment is None:
        return f"--experiment NAME {root}"
    try:
        build_data(load_yaml.load_experiment(experiment), ["--data.root", str(folder)])[0].splits()
    except UserError:
        root = f"--data.class_path lit_inpaint.data.Folder {root}"
    return f"--experiment {shlex.quote(experiment)} {root}"


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Exit with status 143 on SIGTERM, which only the main thread can handle; print after an interruption how to resume."""
    in_main_thread = threading.current_thread() is threading.main_thread()

    def leave(number: int, frame: FrameType | None) -> Any:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave) if in_main_thread else None
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        print("\ninterrupted; the same command resumes", file=sys.stderr)
        raise
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    entry_point.run_command(main)
