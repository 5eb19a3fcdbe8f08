"""Command `evaluate`: score checkpoints on the same images and masks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_inpaint.config import entry_point, load_yaml
from lit_inpaint.config.command_line import CommandParser, build_data
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.outputs import PARTIAL_SUFFIX, check_outputs, json_content, write_outputs
from lit_inpaint.runs.trusted_classes import require_trusted, trust
from lit_inpaint.storage.output_files import output_file

if TYPE_CHECKING:
    from lit_inpaint.data import InpaintingData
    from lit_inpaint.runs.checkpoint_file import LoadedCheckpoint

_EPILOG = """
Images and masks are those of --experiment, or of the first checkpoint's training. Data settings can be changed by their YAML
paths: --data.root DIR  --data.batch_size 16  --data.val_images 100
Both splits use the masks data.val_masks. The protocol deepgin uses images in their native sizes unless --data.size or
--data.val_transform is given; other protocols do so with --data.val_transform lit_inpaint.data.NativeSize

An interrupted evaluation with --output resumes when the same command is given again; with fid or kid it starts over.
"""
GRID_ROWS = 8
_SIZE_OPTIONS = ("--data.size", "--data.init_args.size", "--data.val_transform", "--data.init_args.val_transform")


def main(argv: list[str]) -> int:
    """Evaluate; returns the exit status."""
    options, data_options = _parser().parse_with_data(argv)
    outputs = check_outputs(options.output or ())
    grid = None if options.grid is None else output_file(options.grid, ".png", "--grid")
    paths = [Path(name) for name in options.checkpoint]
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(f"no checkpoint at {missing[0]}; a run writes checkpoints/last.ckpt and checkpoints/best.ckpt")

    import torch

    from lit_inpaint.evaluation import comparison_text
    from lit_inpaint.evaluation.baselines import find_baselines
    from lit_inpaint.evaluation.comparison_grid import write_comparison_grid
    from lit_inpaint.evaluation.comparison_tables import build_table, print_table
    from lit_inpaint.evaluation.evaluator import apply_subsampling, evaluate, prepare_samples
    from lit_inpaint.evaluation.method_labels import describe_checkpoint, label_checkpoints
    from lit_inpaint.evaluation.partial_results import open_partial_results
    from lit_inpaint.evaluation.published_rows import check_table_names, metric_notes, select_tables
    from lit_inpaint.metrics import find_protocol, load_metrics
    from lit_inpaint.runs.checkpoint_file import load_with_config

    entry_point.silence_warnings()
    entry_point.tune_malloc()
    protocol = find_protocol(options.protocol)
    baselines = {} if options.baselines is None else find_baselines(options.baselines)
    check_table_names(options.published)  # a wrong name is an error before any file is read
    extra = load_metrics(options.metrics or ())
    protocol = extra.extend(protocol)

    if options.experiment is not None:
        trust(load_yaml.load_experiment(options.experiment))
    read = [load_with_config(path) for path in paths]
    labels = label_checkpoints([checkpoint.model for checkpoint in read], paths)
    checkpoints = dict(zip(labels, read, strict=True))
    if protocol.native_size and not any(option.startswith(_SIZE_OPTIONS) for option in data_options):
        data_options = [*data_options, "--data.val_transform", "lit_inpaint.data.NativeSize"]  # last: a class resets the others
    data, data_config = _build_data(options.experiment, read[0], data_options)
    trained = {f"{label} ({one.path})": one.config for label, one in checkpoints.items()}
    for line in comparison_text.describe_training_differences(trained, data_config, data_options):
        print(f"warning: {line}", file=sys.stderr)
    loader = prepare_samples(data, options.split, protocol)
    print(data.describe())

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    methods = {label: apply_subsampling(protocol, one.model.to(device).complete) for label, one in checkpoints.items()}
    methods |= baselines
    partial = None
    if outputs and extra.distribution is None:
        files = {method: checkpoints[method].path if method in checkpoints else None for method in methods}
        listed = data.manifest(options.split).digest
        partial = open_partial_results(outputs[0].with_suffix(PARTIAL_SUFFIX), files, protocol, listed, loader)
    elif outputs:
        print("Starts with the first sample: the features of distribution metrics are not saved")
    result = evaluate(methods, loader, protocol, device, extra.distribution, partial)
    manifest = data.manifest(options.split)

    rows, pairs = result.rows(), result.paired_comparisons(labels)
    published, published_notes = select_tables(protocol.paper, options.published, data, options.split)
    title = f"{options.split} images of {type(data).__name__}, {data.val_transform.describe(data.size)}"
    notes = comparison_text.describe_evaluation(result, data, manifest)
    metrics = [metric.name for metric in protocol.metrics] + [name.partition("=")[0] for name in options.metrics or ()]
    notes += [*published_notes, *metric_notes(published, metrics), *extra.notes, *result.notes()]
    table = build_table(rows, protocol, title, notes, next(iter(result.distribution_scores.values()), ()), published)
    print_table(table)
    for line in comparison_text.describe_methods(rows, pairs, protocol, labels[0]):
        print(line)

    facts = {label: describe_checkpoint(one.path, one.model, one.step) for label, one in checkpoints.items()}
    content = json_content(result, rows, pairs, facts, published, data, manifest)
    content |= {"split": options.split, "data": data_config}
    write_outputs(outputs, content, table, result, manifest)
    if partial is not None:
        partial.finish()
    if grid is not None:
        write_comparison_grid(grid, methods, loader, GRID_ROWS, title, device)
    return 0


def _parser() -> CommandParser:
    parser = CommandParser("evaluate", "Score checkpoints and classical baselines on the same images and masks.", _EPILOG)
    parser.add_argument("--checkpoint", metavar="FILE", nargs="+", required=True, help="one or more .ckpt files of runs")
    parser.add_argument("--experiment", metavar="NAME|FILE", help="evaluate on the data of this experiment")
    parser.add_argument("--protocol", metavar="NAME", default="lpi", help="metrics, buckets and rounding (default: lpi)")
    metrics = "fid kid lpips_alex lpips_vgg lpips_squeeze psnr_hole l1_hole; NAME=FILE: with the network's weights in FILE"
    parser.add_argument("--metrics", metavar="NAME", nargs="+", help=f"additional columns: {metrics}")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="images to evaluate on (default: test)")
    baselines = "in the same table: mean, telea, navier_stokes (without NAME these three), biharmonic (slow), all"
    parser.add_argument("--baselines", metavar="NAME", nargs="*", help=f"classical methods {baselines}")
    published = "(default: those of the same data set, masks and size), or none"
    parser.add_argument("--published", metavar="TABLE", nargs="+", help=f"tables of the paper to show {published}")
    parser.add_argument("--grid", metavar="FILE.png", help=f"draw the completions of {GRID_ROWS} images by all methods")
    output = "all numbers to .json or .csv, the table to .md or .tex; beside it the list of samples, with .json their scores"
    parser.add_argument("--output", metavar="FILE", nargs="+", help=f"write {output}")
    return parser


def _build_data(
    experiment: str | None, first: LoadedCheckpoint, options: Sequence[str]
) -> tuple[InpaintingData, dict[str, Any]]:
    """Build the data module of the experiment, or else of the first checkpoint; also returns its configuration."""
    if experiment is not None:
        return build_data(load_yaml.load_experiment(experiment), options)
    if first.config is None:
        raise UserError(f"{first.path} contains no data configuration; name --experiment NAME")
    require_trusted(first.config, first.path)
    return build_data({key: first.config[key] for key in ("model", "data", "seed") if key in first.config}, options)


if __name__ == "__main__":
    entry_point.run_command(main)
