"""Check a data set and shrink it once for all runs: `python -m lit_inpaint.prepare --data DIR --output DIR`."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lit_inpaint.config import entry_point, load_yaml
from lit_inpaint.config.command_line import CommandParser, build_data, whole_number
from lit_inpaint.data.workers import available_cores
from lit_inpaint.errors import UserError

if TYPE_CHECKING:
    from lit_inpaint.data import InpaintingData, Splits
    from lit_inpaint.data.preparation import PreparationSummary, ResizeOptions

_EPILOG = """
What to prepare is a folder of images, a data set of ours by its name (--data CelebA), a YAML file,
or an experiment's data. Any setting of the data can be given by its place in the YAML:
--data.root DIR  --data.seed 1

The output has the data set's own train/, val/ and test/, so `fit --data.root OUTPUT` trains on the
identical split. Images are shrunk, never enlarged, as far as the views of training and evaluation
lose nothing; --shorter_side names another limit, and is needed where a view cuts at the images' own
resolution. Beside them lie report.csv, a line for each image, and lists.json, the splits' hashes and
all that led to them.

Stopped in any way, the same command goes on; finished images are not done again. Exit status: 0 done;
1 done, but with --strict and images that cannot be used; 2 a mistake, or nothing can be written;
130 and 143 stopped by Ctrl-C and SIGTERM.
"""
_NARROW, _WIDE = 60, 128  # columns


def main(argv: list[str]) -> int:
    """Check and prepare; returns the exit status."""
    options, data_options = _parser().parse_with_data(argv)
    if options.output is None and not options.check_only:
        raise UserError("name the folder to write into: --output DIR; or only check: --check_only")
    if options.size is not None:
        data_options = ["--data.size", str(options.size), *data_options]
    data, _ = build_data(_config(options.data, options.experiment, data_options), data_options)

    from lit_inpaint.data.preparation import prepare

    entry_point.silence_warnings()
    lists = data.splits()
    if not any(map(len, (lists.train, lists.val, lists.test))):
        raise UserError(
            f"{type(data).__name__}: no images at {data.root}; put {data.expected_layout} there, or name another folder"
        )
    recipe = _recipe(data, options.check_only, options.shorter_side, options.format, options.quality)
    workers = _cores() if options.workers is None else options.workers
    _print_plan(data, lists, recipe, options.output)
    with _stoppable():
        tally = prepare(data, lists, None if options.output is None else Path(options.output), recipe, workers)
    _print_findings(tally, data)
    if options.output is not None:
        _print_result(tally, recipe, Path(options.output), options.experiment)
    return int(options.strict and bool(tally.left_out.total()))


def _parser() -> CommandParser:
    parser = CommandParser(
        "prepare", "Check every image of a data set, and write it anew so that training reads it faster.", _EPILOG
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", metavar="DIR|CLASS|FILE", help="a folder of images, a data set, or a YAML file with one")
    what.add_argument("--experiment", metavar="NAME|FILE", help="the data of this experiment")
    parser.add_argument("--output", metavar="DIR", help="folder to write into, outside the images' own")
    parser.add_argument(
        "--size", metavar="N", type=whole_number(1), help="side of the samples (default: the data's, mostly 256)"
    )
    parser.add_argument(
        "--shorter_side", metavar="N", type=whole_number(1), help="shrink to this shorter side (default: what the views need)"
    )
    parser.add_argument(
        "--format", choices=("jpg", "png"), default="jpg", help="png has no artefacts but reads slower (default: jpg)"
    )
    parser.add_argument("--quality", metavar="N", type=whole_number(1), default=95, help="of JPEGs, up to 100 (default: 95)")
    parser.add_argument("--workers", metavar="N", type=whole_number(0), help="processes (default: one a core)")
    parser.add_argument("--check_only", action="store_true", help="write no images; --output may be left out")
    parser.add_argument("--strict", action="store_true", help="end with status 1 if an image cannot be used")
    return parser


def _config(data: str | None, experiment: str | None, options: Sequence[str]) -> load_yaml.Config:
    """The configuration that holds the data set, whichever way it was named."""
    if experiment is not None:
        return load_yaml.load_experiment(experiment)
    network = {"model": {"class_path": "lit_inpaint.papers.LPINet"}}  # a configuration is checked as a whole; it is not built
    if data is None:
        raise RuntimeError("the parser demands one of --data and --experiment")
    if data.endswith((".yaml", ".yml")):
        config = load_yaml.load_experiment(data)
        if "data" in config:
            return network | config
        section = {"class_path": "lit_inpaint.data.Folder"} | {
            key: config[key] for key in ("class_path", "init_args") if key in config
        }
    elif Path(data).exists():
        if any(option.partition("=")[0] == "--data.root" for option in options):
            raise UserError(f"--data {data} and --data.root name two folders; leave one out")
        section = {"class_path": "lit_inpaint.data.Folder", "init_args": {"root": data}}
    else:
        section = {"class_path": _class_path(data)}
    return network | {"data": section}


def _class_path(name: str) -> str:
    """The import path of a data set, given by that or by its name.

    Raises:
        UserError: it looks like neither; lists ours.
    """
    from lit_inpaint import data

    ours = [key for key, value in vars(data).items() if isinstance(value, type) and issubclass(value, data.InpaintingData)]
    ours.remove("InpaintingData")
    if name in ours:
        return f"lit_inpaint.data.{name}"
    if "/" in name or "." not in name.strip("."):
        raise UserError(f"--data {name}: there is no such folder, and the data sets are {', '.join(sorted(ours))}")
    return name


def _recipe(data: InpaintingData, check_only: bool, shorter_side: int | None, format: str, quality: int) -> ResizeOptions:
    from lit_inpaint.data import preparation

    if check_only:
        return preparation.ResizeOptions(data.size, None)
    if shorter_side is None:
        needs = []
        for view in (data.train_transform, data.val_transform):
            if (need := preparation.shorter_side(view, data.size)) is None:
                shown = f"{type(view).__name__} may show images at their own resolution"
                raise UserError(f"{shown}; say how far they may shrink: --shorter_side N")
            needs.append(need)
        shorter_side = max(needs)
    return preparation.ResizeOptions(data.size, shorter_side, "png" if format == "png" else "jpg", quality)


def _print_plan(data: InpaintingData, lists: Splits, recipe: ResizeOptions, output: str | None) -> None:
    counts = f"{len(lists.train):,} train, {len(lists.val):,} val, {len(lists.test):,} test"
    _print(f"{type(data).__name__}{f' {data.root}' if data.root else ''}: {counts} images ({lists.note})")
    if recipe.shorter_side is None:
        return
    saved = f"JPEG of quality {recipe.quality}" if recipe.format == "jpg" else "PNG"
    _print(f"Shorter side at most {recipe.shorter_side} px, for samples of {recipe.size} px; {saved}; into {output}")


def _print_findings(tally: PreparationSummary, data: InpaintingData) -> None:
    """What is odd about the pictures: first what is left out, then what is used all the same."""
    from lit_inpaint.data.preparation import LEFT_OUT, TAKEN

    usable, left_out = tally.usable.total(), tally.left_out.total()
    root = Path(data.root or "/")
    _print(f"{usable + left_out:,} images checked: {usable:,} can be used, {left_out:,} cannot")
    for title, kinds in (("left out", LEFT_OUT), ("used all the same", TAKEN)):
        found = [kind for kind in kinds if tally.kinds[kind]]
        if found:
            print(f"  {title}:")
        for kind in found:
            names = [name.removeprefix(f"{root}/").removeprefix(f"{root.absolute()}/") for name in tally.names[kind]]
            more = ", …" if tally.kinds[kind] > len(names) else ""
            _print(f"{tally.kinds[kind]:9,} {kind:12}  {kinds[kind]}: {', '.join(names)}{more}", indent=26)


def _print_result(tally: PreparationSummary, recipe: ResizeOptions, output: Path, experiment: str | None) -> None:
    if recipe.shorter_side is not None:
        done = [f"{tally.usable.total():,} images in {output}, {_size(tally.after)}"]
        if tally.before:
            done.append(f"before: {_size(tally.before)}")
        if tally.reused:
            done.append(f"{tally.reused:,} were there already")
        if tally.removed:
            done.append(f"{tally.removed:,} that have left the data set were removed")
        _print("; ".join(done))
    if tally.speed is not None:
        before, after = tally.speed
        speed = f"{before:,.0f} images/s before, {after:,.0f} after ({after / before:.2f} times; {tally.timed:,} images)"
        _print(f"Read from memory and cut by one process: {speed}")
    if tally.differs:
        _print(f"warning: read as a folder, it is not the data set's own list: {tally.differs}")
    _print(f"Every image: {output / 'report.csv'}; the lists' hashes: {output / 'lists.json'}")
    if recipe.shorter_side is not None:
        print("To train on it:")
        print(f"  python -m lit_inpaint.fit {_train_on(output, experiment)}")


def _train_on(output: Path, experiment: str | None) -> str:
    """What `fit` takes to train on the output: the experiment's own data set, if it takes a folder that is not its own."""
    root = f"--data.root {shlex.quote(str(output))}"
    if experiment is None:
        return f"--experiment NAME {root}"
    try:
        build_data(load_yaml.load_experiment(experiment), ["--data.root", str(output)])[0].splits()
    except UserError:
        root = f"--data.class_path lit_inpaint.data.Folder {root}"
    return f"--experiment {shlex.quote(experiment)} {root}"


def _print(text: str, indent: int = 2) -> None:
    """Print a line, folded to the terminal's width; 100 columns where there is none."""
    text = text.encode(errors="replace").decode()  # a name in another encoding
    width = min(_WIDE, max(_NARROW, shutil.get_terminal_size((100, 24)).columns))
    print(textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False))


def _size(count: int) -> str:
    unit = next((unit for unit in (30, 20) if count >= 2**unit), 10)
    return f"{count / 2**unit:,.1f} {({30: 'GiB', 20: 'MiB', 10: 'KiB'})[unit]}"


def _cores() -> int:
    return available_cores()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Leave in order on SIGTERM, too, and say what a stop means."""

    def leave(number: int, frame: FrameType | None) -> Any:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        print("\nstopped; the same command goes on", file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    entry_point.run_command(main)
