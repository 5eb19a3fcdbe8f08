"""Look at what a network would be trained on: `python -m lit_inpaint.preview --experiment lpi_demo --output preview.png`.

Or at masks alone: `python -m lit_inpaint.preview --masks FreeForm Boxes --output masks.png`.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import statistics
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import yaml

from lit_inpaint.config import entry_point, load_yaml
from lit_inpaint.config.command_line import CommandParser, build_data, whole_number
from lit_inpaint.config.error_messages import constructor_error, format_config_error
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.storage.output_files import output_file, write_output

if TYPE_CHECKING:
    from lit_inpaint.masks import MaskSource
    from lit_inpaint.visualization.grids import MaskRow

COLUMNS = ("image", "mask", "masked input")
ROWS = 16
"""Most samples that are drawn; the printed share is of the whole batch."""
DRAWS = 200
"""Masks of a source whose hole shares are counted."""
SIZE, COUNT, SEED = 256, 8, 0
_EPILOG = """
With --experiment, any setting of the data can be given by its place in the YAML: --data.root DIR  --data.batch_size 16
With --masks, a SPEC is the name of a source, the import path of one's own, a folder of masks, or either name with options:
  --masks FreeForm '{class_path: Boxes, init_args: {count: [1, 1], side: [0.3, 0.7]}}' my_package.MyMasks ~/masks
  --masks all (or without a SPEC) draws every source of lit_inpaint.masks that needs no option
"""


def main(argv: list[str]) -> int:
    """Draw the first training batch, or masks; returns the exit status."""
    parser = CommandParser("preview", "Draw one real training batch as a network would get it, or masks alone.", _EPILOG)
    parser.add_argument("--experiment", metavar="NAME|FILE", help="a file of experiments/, by name or path: its first batch")
    parser.add_argument("--masks", metavar="SPEC", nargs="*", help="masks of these sources, or of all")
    parser.add_argument("--output", metavar="FILE.png", required=True, help="where the picture goes")
    parser.add_argument("--size", metavar="PIXELS", type=whole_number(1), help=f"side of the masks (default {SIZE})")
    parser.add_argument(
        "--count", metavar="N", type=whole_number(1), help=f"masks that are drawn of a source (default {COUNT})"
    )
    parser.add_argument("--seed", metavar="N", type=whole_number(0), help=f"of the masks (default {SEED})")
    options, data_options = parser.parse_with_data(argv)
    _require_one_kind(options, data_options)
    output = output_file(options.output, ".png")
    if options.masks is None:
        _draw_batch(options.experiment, data_options, output)
    else:
        size, count, seed = (
            default if given is None else given
            for given, default in ((options.size, SIZE), (options.count, COUNT), (options.seed, SEED))
        )
        _draw_masks(_sources(options.masks), output, size, count, seed)
    return 0


def _require_one_kind(options: argparse.Namespace, data_options: Sequence[str]) -> None:
    if options.experiment is None and options.masks is None:
        raise UserError("say --experiment NAME for a training batch, or --masks for masks alone (--help lists all options)")
    if options.experiment is not None and options.masks is not None:
        raise UserError("--experiment draws a training batch and --masks draws masks alone; give one of the two")
    if options.masks is None:
        for option in ("size", "count", "seed"):
            if getattr(options, option) is not None:
                data_option = {"size": "data.size", "count": "data.batch_size", "seed": "data.seed"}[option]
                raise UserError(f"--{option} goes with --masks; for a training batch say --{data_option}")
    elif data_options:
        raise UserError(f"{data_options[0]} goes with --experiment; --masks takes --size, --count and --seed")


def _draw_batch(experiment: str, data_options: Sequence[str], output: Path) -> None:
    config = load_yaml.load_experiment(experiment)
    data, _ = build_data(config, data_options)

    from lit_inpaint.types import check_batch
    from lit_inpaint.visualization.grids import GridRow, draw_grid, overlay_mask

    data.workers = 0  # one batch is not worth their start; what it holds does not depend on them
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    share = check_batch(batch)
    images, masks, names = batch["image"], batch["mask"], batch["name"]
    drawn = [
        GridRow(f"{name.rpartition('/')[2]}\nhole {float(mask.mean()):.1%}", [image, mask, overlay_mask(image, mask)])
        for image, mask, name in zip(images[:ROWS], masks[:ROWS], names[:ROWS], strict=True)
    ]
    title = f"{config['experiment']}: first training batch, {len(names)} x {data.size}x{data.size} px, mean hole {share:.1%}"
    with write_output(output) as part:
        draw_grid(drawn, COLUMNS, title).save(part, format="PNG")
    print(data.describe())
    print(f"First batch: {tuple(images.shape)}, mean hole share {share:.1%} (1 = hole, drawn white in the mask)")
    more = f" (the first {ROWS} of {len(names)} samples)" if len(names) > ROWS else ""
    print(f"Drawn in {output}{more}")


def _draw_masks(sources: Sequence[MaskSource], output: Path, size: int, count: int, seed: int) -> None:
    from lit_inpaint.visualization.grids import draw_mask_rows

    strips = [_strip(source, size, count, seed) for source in sources]
    title = f"{size}x{size} px, seed {seed}, white = hole; hole shares are means and standard deviations of {DRAWS} masks"
    with write_output(output) as part:
        draw_mask_rows(strips, title).save(part, format="PNG")
    for strip in strips:
        print(f"{strip.name}: {strip.figures}")
    print(f"Drawn in {output}: {count} masks of each source; shares are of {DRAWS}")


def _strip(source: MaskSource, size: int, count: int, seed: int) -> MaskRow:
    import torch

    from lit_inpaint.masks import mask_ratio
    from lit_inpaint.visualization.grids import MaskRow

    rng = torch.Generator().manual_seed(seed)
    shown, shares = [], []
    for number in range(max(count, DRAWS)):
        mask = source((size, size), rng)
        if number < count:
            shown.append(mask)
        if number < DRAWS:
            shares.append(float(mask_ratio(mask)))
    mean, deviation = statistics.fmean(shares), statistics.pstdev(shares)
    figures = f"hole {mean:.1%} ± {deviation:.1%}, from {min(shares):.1%} to {max(shares):.1%}"
    return MaskRow(type(source).__name__, _options(source), figures, shown, shares)


def _options(value: object, brief: bool = False) -> str:
    """The options of a source as they would be written in Python, floats rounded; `brief` leaves out defaults."""
    if not dataclasses.is_dataclass(value):
        return ""
    written = []
    for field in dataclasses.fields(value):
        option = getattr(value, field.name)
        if not brief or option != field.default:
            written.append(f"{field.name}={_written(option)}")
    return ", ".join(written)


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, tuple):
        inside = ", ".join(map(_written, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}({_options(value, brief=True)})"
    return repr(value)


def _sources(specs: Sequence[str]) -> list[MaskSource]:
    """The sources that `--masks` names.

    Raises:
        UserError: there is no such source, or it refuses its options.
    """
    from lit_inpaint import masks

    offered = (getattr(masks, name) for name in masks.__all__)
    known: dict[str, type[MaskSource]] = {
        thing.__name__: thing
        for thing in offered
        if inspect.isclass(thing) and issubclass(thing, masks.MaskSource) and not inspect.isabstract(thing)
    }
    ready = [name for name, source in known.items() if _needs_nothing(source)]
    return [_source(name, known) for spec in specs or ["all"] for name in (ready if spec == "all" else [spec])]


def _needs_nothing(source: type[MaskSource]) -> bool:
    return all(parameter.default is not parameter.empty for parameter in inspect.signature(source).parameters.values())


def _source(spec: str, known: dict[str, type[MaskSource]]) -> MaskSource:
    from jsonargparse import ArgumentError, ArgumentParser

    from lit_inpaint.masks import MaskSource

    try:
        said = _with_init_args(yaml.safe_load(spec))
    except yaml.YAMLError:
        raise UserError(f"--masks {spec} is not valid YAML") from None
    if isinstance(said, str):
        said = (
            {"class_path": "RandomFromFolder", "init_args": {"root": said}} if _is_folder(said, known) else {"class_path": said}
        )
    if not isinstance(said, dict) or not isinstance(name := said.get("class_path"), str):
        raise UserError(f"--masks {spec}: expected the name of a source, a folder, or {{class_path: NAME, init_args: {{…}}}}")
    if "." not in name and name not in known:
        raise UserError(f"--masks: no source or folder {name!r}{did_you_mean(name, known, n=3, cutoff=0.4)}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--masks", type=MaskSource)
    try:
        return cast(MaskSource, parser.instantiate(parser.parse_object({"masks": said})).masks)
    except (ArgumentError, TypeError, ValueError) as error:
        complaint = (
            (constructor_error(str(error)) or format_config_error(str(error)))
            .removeprefix('Parser key "masks": ')
            .removeprefix("masks: ")
        )
        raise UserError(f"--masks {spec}: {complaint}") from None


def _with_init_args(said: object) -> object:
    """`said` with the bare options of each class put under `init_args`, where jsonargparse expects them."""
    if isinstance(said, list):
        return [_with_init_args(item) for item in said]
    if not isinstance(said, dict):
        return said
    said = {key: _with_init_args(value) for key, value in said.items()}
    options = {key: value for key, value in said.items() if key not in ("class_path", "init_args")}
    if "class_path" not in said or not options or not isinstance(given := said.get("init_args", {}), dict):
        return said
    return {"class_path": said["class_path"], "init_args": given | options}


def _is_folder(text: str, known: Container[str]) -> bool:
    """Whether `text` names a folder of masks, there or not, rather than a class."""
    if text in known:
        return False
    try:
        return text.startswith(("~", ".")) or "/" in text or Path(text).is_dir()
    except OSError:  # too long for a name
        return False


if __name__ == "__main__":
    entry_point.run_command(main)
