"""Score checkpoints on one set of images and holes: `python -m lit_inpaint.evaluate --checkpoint FILE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lit_inpaint.config import entry_point, load_yaml
from lit_inpaint.config.command_line import CommandParser, build_data
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.storage.output_files import output_file, write_json, write_output

if TYPE_CHECKING:
    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine.inpainter import Inpainter
    from lit_inpaint.evaluation.comparison_tables import Table
    from lit_inpaint.metrics import EvaluationResult
    from lit_inpaint.published import PublishedTable

_EPILOG = """
The images and holes are those of --experiment, else those that the first checkpoint was trained with. Any setting of the data
can be given by its place in the YAML: --data.root DIR  --data.batch_size 16  --data.val_images 100
The holes of an evaluation are data.val_masks, in both splits. The protocol deepgin shows images in their original sizes, unless
--data.size or --data.val_transform is given; any other does so with --data.val_transform lit_inpaint.data.NativeSize

An evaluation with --output that was interrupted goes on when the same command is given again; not one with fid or kid, whose
features of the samples before are not kept.
"""
ROWS = 8
"""Samples in the grid."""
SUFFIXES = (".json", ".csv", ".md", ".tex")
"""What --output writes."""
MANIFEST, IMAGES = ".manifest.csv", ".images.csv"
"""In place of its suffix, what the files beside an output end with: which samples, and the scores of each."""
_SIZES = ("--data.size", "--data.init_args.size", "--data.val_transform", "--data.init_args.val_transform")
_SHOWN = 120  # characters of a setting in a warning


class Entry(NamedTuple):
    """A checkpoint on the command line, the network in it, and what it says about its training."""

    path: Path
    model: Inpainter
    step: int | None
    config: load_yaml.Config | None


def main(argv: list[str]) -> int:
    """Evaluate; returns the exit status."""
    options, data_options = _parser().parse_with_data(argv)
    outputs = _outputs(options.output or ())
    grid = output_file(options.grid, ".png", "--grid") if options.grid is not None else None
    paths = [Path(name) for name in options.checkpoint]
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(f"no checkpoint at {missing[0]}; a run writes checkpoints/last.ckpt and checkpoints/best.ckpt")

    import torch

    from lit_inpaint.data.inpainting_dataset import EvalDataset
    from lit_inpaint.data.manifest import SHORT_DIGEST
    from lit_inpaint.evaluation.baselines import find_baselines
    from lit_inpaint.evaluation.comparison_grid import draw_comparison_grid
    from lit_inpaint.evaluation.comparison_tables import MARK, build_table, print_table
    from lit_inpaint.evaluation.comparison_text import describe_comparison, describe_evaluation, describe_pairs
    from lit_inpaint.evaluation.evaluator import apply_subsampling, evaluate
    from lit_inpaint.evaluation.method_labels import label_checkpoints, variant_of
    from lit_inpaint.evaluation.partial_results import PartialResults, key_of, stamp_of
    from lit_inpaint.metrics import extend, find_protocol

    entry_point.silence_warnings()
    entry_point.tune_malloc()
    protocol, of_sets = find_protocol(options.protocol), None
    baselines = find_baselines(options.baselines) if options.baselines is not None else {}
    if options.published is not None:
        _published(protocol.paper, "", options.published)  # a wrong name is met now
    if options.metrics:
        protocol, of_sets = (extended := extend(protocol, options.metrics)).protocol, extended.of_sets
        of_sets = of_sets if of_sets() else None
    entries = [_read(path) for path in paths]
    labels = label_checkpoints([entry.model for entry in entries], paths)
    if protocol.original and not any(option.startswith(_SIZES) for option in data_options):
        data_options = [
            *data_options,
            "--data.val_transform",
            "lit_inpaint.data.NativeSize",
        ]  # last: another class forgets the rest
    data, section = _data(options.experiment, entries[0], data_options)
    if data.val_transform.square:
        protocol.require_size(data.size)
    _warn(labels, entries, section, data_options)
    data.prepare_data()
    data.setup("validate" if options.split == "val" else "test")
    loader = data.val_dataloader() if options.split == "val" else data.test_dataloader()
    if not data.val_transform.square:
        protocol.require_size(*data.min_side(options.split))
    manifest = data.manifest(options.split)
    print(data.describe())

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = {
        label: apply_subsampling(protocol, entry.model.to(device).complete)
        for label, entry in zip(labels, entries, strict=True)
    }
    compared = {**networks, **baselines}
    unfinished = None
    if outputs and of_sets is None:
        whose = {**dict(zip(labels, paths, strict=True)), **dict.fromkeys(baselines)}
        stamp = stamp_of(cast(EvalDataset, loader.dataset).store.source)
        keys = {name: key_of(path or name, protocol, manifest.digest, stamp) for name, path in whose.items()}
        unfinished = PartialResults(outputs[0].with_suffix(".unfinished.jsonl"), keys)
        if done := unfinished.count():
            print(f"Goes on after {done:,} samples that an interrupted evaluation left in {unfinished.path}")
    elif outputs:
        print("Begins with the first sample: the features for measures of all samples together are not kept")
    scores = evaluate(compared, loader, protocol, device, of_sets, unfinished)
    found, pairs = scores.rows(), scores.paired_comparisons(labels)

    about_images = f"{options.split} images of {type(data).__name__}, {data.val_transform.describe(data.size)}"
    beside = _published(protocol.paper, type(data).__name__, options.published)
    notes = [
        *describe_evaluation(scores, data, manifest),
        *(
            f"{MARK} published, of other images and masks than ours, so not ranked with them. {table.caption}"
            for table in beside
        ),
        *_not_published(protocol.paper, beside, [*(measure.name for measure in protocol.metrics), *(options.metrics or ())]),
        *scores.notes(),
    ]
    first = next(iter(scores.of_sets.values()), [])
    table = build_table(found, protocol, about_images, notes, first, beside)
    print_table(table)
    for line in [*describe_comparison(found, protocol, labels[0]), *describe_pairs(pairs, protocol)]:
        print(line)

    files = {label: {"checkpoint": str(entry.path)} for label, entry in zip(labels, entries, strict=True)}
    rows = [{**row, "manifest": manifest.digest, **files.get(row["method"], {})} for row in found]
    content = {
        "rows": rows,
        "pairs": [{**pair, "manifest": manifest.digest} for pair in pairs],
        "published": [row for source in beside for row in _published_rows(source)],
        "methods": {
            label: {
                **files[label],
                "paper": type(entry.model).__name__,
                "variant": variant_of(entry.model),
                "step": entry.step,
                "seed": entry.model.seed,
                "parameters": sum(parameter.numel() for parameter in entry.model.generator.parameters()),
            }
            for label, entry in zip(labels, entries, strict=True)
        },
        "protocol": {"name": protocol.name, "description": protocol.description},
        "masks": [str(source) for source in data.val_masks],
        "remarks": scores.notes(),
        "split": options.split,
        "images": data.describe(),
        "data": section,
    }
    units = {column.name: column.unit for column in table.columns}
    for output in outputs:
        _write(output, content, table, scores, units)
        print(f"{len(rows)} rows in {output}")
    if outputs:
        listed = outputs[0].with_suffix(MANIFEST)
        with write_output(listed) as part:
            manifest.write(part)
        print(f"The samples they are about are in {listed}, SHA-256 {manifest.digest[:SHORT_DIGEST]}…")
    if unfinished is not None:
        unfinished.finish()
    if grid is not None:
        picture = draw_comparison_grid(compared, loader, ROWS, about_images, device)
        with write_output(grid) as part:
            picture.save(part, format="PNG")
        print(f"Drawn in {grid}")
    return 0


def _parser() -> CommandParser:
    parser = CommandParser("evaluate", "Score checkpoints, and classical methods, on the same images and holes.", _EPILOG)
    parser.add_argument("--checkpoint", metavar="FILE", nargs="+", required=True, help="one or more .ckpt files of runs")
    parser.add_argument("--experiment", metavar="NAME|FILE", help="evaluate on the data of this experiment")
    parser.add_argument("--protocol", metavar="NAME", default="lpi", help="what is measured and how (default: lpi)")
    parser.add_argument(
        "--metrics", metavar="NAME", nargs="+", help="more columns: fid kid lpips_alex lpips_vgg psnr_hole l1_hole"
    )
    parser.add_argument("--split", choices=("val", "test"), default="test", help="images to evaluate on (default: test)")
    parser.add_argument(
        "--baselines",
        metavar="NAME",
        nargs="*",
        help="classical methods in the same table: mean, telea, navier_stokes (without NAME these), biharmonic (slow), all",
    )
    parser.add_argument(
        "--published",
        metavar="TABLE",
        nargs="+",
        help="which of the paper's tables stand beside (default: those of the same data set, else the first); none for none",
    )
    parser.add_argument("--grid", metavar="FILE.png", help=f"draw what each method makes of {ROWS} of the images")
    parser.add_argument(
        "--output",
        metavar="FILE",
        nargs="+",
        help="write every number to .json or .csv, the table to .md or .tex; beside the first which samples, beside .json the "
        "score of each image",
    )
    return parser


def _outputs(names: Sequence[str]) -> list[Path]:
    """Where to write, once it is clear that all can be written; a .json first."""
    found = []
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix not in SUFFIXES:
            raise UserError(f"--output {name} must end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
        found.append(output_file(name, suffix))
    if doubles := [path for place, path in enumerate(found) if path in found[:place]]:
        raise UserError(f"--output names {doubles[0]} twice")
    found.sort(key=lambda path: path.suffix.lower() != ".json")
    beside = {path.with_suffix(IMAGES) for path in found if path.suffix.lower() == ".json"}
    beside |= {path.with_suffix(MANIFEST) for path in found[:1]}
    if taken := [path for path in found if path in beside]:
        raise UserError(f"--output {taken[0]} is what a file beside {found[0]} is called; name it otherwise")
    return found


def _write(output: Path, content: dict[str, Any], table: Table, scores: EvaluationResult, units: dict[str, str]) -> None:
    """One output file; beside a .json the scores of each image."""
    from lit_inpaint.evaluation.comparison_tables import images_csv, to_csv, to_latex, to_markdown

    if output.suffix.lower() == ".json":
        columns = {
            f"{method} {measure.name}": values[:, number].tolist()
            for method, values in scores.values.items()
            for number, measure in enumerate(scores.protocol.metrics)
        }
        with write_output(output.with_suffix(IMAGES)) as part:
            part.write_text(images_csv(scores.names, scores.shares.tolist(), scores.buckets, columns), encoding="utf-8")
        write_json(output, content)
        return
    if output.suffix.lower() == ".csv":
        masks = "; ".join(content["masks"])
        measured = [{**row, "unit": units.get(row["metric"], ""), "masks": masks} for row in content["rows"]]
        text = to_csv([*measured, *content["published"]])
    else:
        text = to_markdown(table) if output.suffix.lower() == ".md" else to_latex(table)
    with write_output(output) as part:
        part.write_text(text, encoding="utf-8")


def _published(paper: str, data_set: str, wanted: Sequence[str] | None) -> tuple[PublishedTable, ...]:
    """The paper's tables that stand beside ours: those named, else those of our data set, else the first one."""
    from lit_inpaint.published import of_data_set, quality_tables

    known = quality_tables(paper)
    if wanted is None:
        return of_data_set(known, data_set) or known[:1]
    if list(wanted) == ["none"]:
        return ()
    names = [table.name for table in known]
    for name in wanted:
        if name not in names:
            raise UserError(f"--published: {paper} has no table {name!r}{did_you_mean(name, [*names, 'none'], show_all=True)}")
    return tuple(table for table in known if table.name in wanted)


def _not_published(paper: str, beside: Sequence[PublishedTable], measured: Sequence[str]) -> list[str]:
    """What a reader might look for beside our lines, and why it is not there."""
    if not _published(paper, "", None):
        return [f"No scores of {paper}'s paper are kept, so none stand beside."]
    why = {name: reason for table in beside for name, reason in table.unlike.items()}
    printed = dict.fromkeys(name for table in beside for name in table.units if name not in measured)
    missing = ", ".join(name for name in printed if name not in why)
    return [f"Printed there and not measured here: {missing}."] * bool(missing) + [
        f"Printed there as {name}: {reason}, so it stands beside no column of ours." for name, reason in why.items()
    ]


def _published_rows(table: PublishedTable) -> list[dict[str, object]]:
    """A published table as rows; `source` says that they are published."""
    about = {"table": table.name, "source": table.source, "dataset": table.dataset, "masks": table.masks, "n": table.n}
    return [
        {"method": method, "bucket": bucket, "metric": metric, "value": value, "unit": table.units[metric], **about}
        for method, of_bucket in table.figures.items()
        for bucket, figures in of_bucket.items()
        for metric, value in figures.items()
    ]


def _read(path: Path) -> Entry:
    from lit_inpaint.runs.checkpoint_file import read_checkpoint, rebuild

    content = read_checkpoint(path)
    model = rebuild(content, path)  # the rest of the content, mostly optimizer state, is let go
    return Entry(path, model, content.get("global_step"), content["lit_inpaint"].get("config"))


def _data(experiment: str | None, first: Entry, options: Sequence[str]) -> tuple[InpaintingData, dict[str, Any]]:
    """The images and holes to evaluate on, built, and as plain data."""
    if experiment is not None:
        config = load_yaml.load_experiment(experiment)
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
    entry_point.run_command(main)
