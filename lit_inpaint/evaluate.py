"""Score checkpoints on one set of images and holes: `python -m lit_inpaint.evaluate --checkpoint FILE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lit_inpaint import cli, configuration
from lit_inpaint.arguments import VerbParser, build_data
from lit_inpaint.output import output_file, replacing, write_json
from lit_inpaint.types import UserError

if TYPE_CHECKING:
    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine import Inpainter

_EPILOG = """
The images and holes are those of --experiment, else those that the first checkpoint was trained with. Any setting of the data
can be given by its place in the YAML: --data.root DIR  --data.batch_size 16  --data.val_images 100
The holes of an evaluation are data.val_masks, in both splits.
"""
ROWS = 8
"""Samples in the grid."""
_SHOWN = 120  # characters of a setting in a warning


class Entry(NamedTuple):
    """A checkpoint on the command line, the network in it, and what it says about its training."""

    path: Path
    model: Inpainter
    step: int | None
    config: configuration.Config | None


def main(argv: list[str]) -> int:
    """Evaluate; returns the exit status."""
    options, data_options = _parser().parse_with_data(argv)
    output = output_file(options.output, ".json") if options.output is not None else None
    grid = output_file(options.grid, ".png", "--grid") if options.grid is not None else None
    paths = [Path(name) for name in options.checkpoint]
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(f"no checkpoint at {missing[0]}; a run writes checkpoints/last.ckpt and checkpoints/best.ckpt")

    import torch

    from lit_inpaint.baselines import BASELINES
    from lit_inpaint.data.manifest import SHOWN
    from lit_inpaint.evaluation import comparison, comparison_grid, evaluate, print_table
    from lit_inpaint.labels import label_checkpoints, variant_of
    from lit_inpaint.metrics import find_protocol

    cli.quieten()
    cli.keep_freed_memory()
    protocol = find_protocol(options.protocol)
    entries = [_read(path) for path in paths]
    labels = label_checkpoints([entry.model for entry in entries], paths)
    data, section = _data(options.experiment, entries[0], data_options)
    _warn(labels, entries, section, data_options)
    data.prepare_data()
    data.setup("validate" if options.split == "val" else "test")
    loader = data.val_dataloader() if options.split == "val" else data.test_dataloader()
    print(data.describe())

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    methods = {label: entry.model.to(device).complete for label, entry in zip(labels, entries, strict=True)}
    compared = {**methods, **(dict(BASELINES) if options.baselines else {})}
    found = evaluate(compared, loader, protocol, device)
    about_images = f"{options.split} images of {type(data).__name__}, {data.size} px"
    print_table(found, protocol, f"{about_images}; * = best")
    for line in comparison(found, protocol, labels[0]):
        print(line)

    if output is not None:
        files = {label: {"checkpoint": str(entry.path)} for label, entry in zip(labels, entries, strict=True)}
        about = {
            label: {
                **files[label],
                "paper": type(entry.model).__name__,
                "variant": variant_of(entry.model),
                "step": entry.step,
                "seed": entry.model.seed,
                "parameters": sum(parameter.numel() for parameter in entry.model.generator.parameters()),
            }
            for label, entry in zip(labels, entries, strict=True)
        }
        manifest = data.manifest(options.split)
        rows = [{**row, "manifest": manifest.digest, **files.get(row["method"], {})} for row in found]
        beside = output.with_suffix(".manifest.csv")
        with replacing(beside) as part:
            manifest.write(part)
        write_json(output, {"rows": rows, "methods": about, "split": options.split, "images": data.describe(), "data": section})
        print(f"{len(rows)} rows in {output}; the samples they are about in {beside}, SHA-256 {manifest.digest[:SHOWN]}…")
    if grid is not None:
        picture = comparison_grid(compared, loader, ROWS, about_images, device)
        with replacing(grid) as part:
            picture.save(part, format="PNG")
        print(f"Drawn in {grid}")
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("evaluate", "Score checkpoints, and classical methods, on the same images and holes.", _EPILOG)
    parser.add_argument("--checkpoint", metavar="FILE", nargs="+", required=True, help="one or more .ckpt files of runs")
    parser.add_argument("--experiment", metavar="NAME|FILE", help="evaluate on the data of this experiment")
    parser.add_argument("--protocol", metavar="NAME", default="lpi", help="what is measured and how (default: lpi)")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="images to evaluate on (default: test)")
    parser.add_argument("--baselines", action="store_true", help="classical methods in the same table")
    parser.add_argument("--grid", metavar="FILE.png", help=f"draw what each method makes of {ROWS} of the images")
    parser.add_argument("--output", metavar="FILE.json", help="write every number there, and beside it which samples")
    return parser


def _read(path: Path) -> Entry:
    from lit_inpaint.checkpoint import read_checkpoint, revive

    content = read_checkpoint(path)
    model = revive(content, path)  # the rest of the content, mostly optimizer state, is let go
    return Entry(path, model, content.get("global_step"), content["lit_inpaint"].get("config"))


def _data(experiment: str | None, first: Entry, options: Sequence[str]) -> tuple[InpaintingData, dict[str, Any]]:
    """The images and holes to evaluate on, built, and as plain data."""
    if experiment is not None:
        config = configuration.load_experiment(experiment)
    elif first.config is not None:
        config = {key: first.config[key] for key in ("model", "data", "seed") if key in first.config}
    else:
        raise UserError(f"{first.path} does not say which data it was trained with; name --experiment NAME")
    return build_data(config, options)


def _warn(labels: Sequence[str], entries: Sequence[Entry], section: dict[str, Any], options: Sequence[str]) -> None:
    """Say where checkpoints are judged on other holes or sizes than the ones they were validated with in training."""
    if any(option.startswith("--data.masks") for option in options):
        _print_warning("data.masks are the holes of training and change nothing here; the holes here are data.val_masks")
    now = section["init_args"]
    for label, entry in zip(labels, entries, strict=True):
        then = ((entry.config or {}).get("data") or {}).get("init_args", {})
        for key in ("size", "val_masks"):
            if key in then and then[key] != now[key]:
                was, this = (_short(value) for value in (then[key], now[key]))
                _print_warning(f"{label} ({entry.path}) was trained with data.{key} = {was}, evaluated here with {this}")


def _short(value: object) -> str:
    text = "the default" if value is None else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _print_warning(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


if __name__ == "__main__":
    cli.run_verb(main)
