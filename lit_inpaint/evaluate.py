"""Command `evaluate`: score checkpoints, other programs' results and classical methods on the same images and masks."""

from __future__ import annotations

import sys
from pathlib import Path

from lit_inpaint.config import entry_point
from lit_inpaint.config import evaluation_inputs as inputs
from lit_inpaint.config.command_line import CommandParser, build_data
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.outputs import PARTIAL_SUFFIX, check_outputs, json_content, write_outputs
from lit_inpaint.storage.output_files import output_file

_EPILOG = """
Images and masks are those of --experiment, or of the first checkpoint's training; with neither, --data.root DIR names a folder.
Data settings can be changed by their YAML paths: --data.root DIR  --data.batch_size 16  --data.val_images 100
The files of --results have the names and the sizes of the samples, as in the list of samples: a/x.png for the image a/x.jpg.
Both splits use the masks data.val_masks. The protocol deepgin uses images in their native sizes unless --data.size or
--data.val_transform is given; other protocols do so with --data.val_transform lit_inpaint.data.NativeSize

An interrupted evaluation with --output resumes when the same command is given again, also with fid or kid.
torchrun --nproc-per-node 4 -m lit_inpaint.evaluate … and srun share the samples among processes, one for each GPU.
"""
GRID_ROWS = 8


def main(argv: list[str]) -> int:
    """Evaluate, in one process or in those of torchrun or srun; returns the exit status."""
    options, data_options = _parser().parse_with_data(argv)
    outputs = check_outputs(options.output or ())
    grid = None if options.grid is None else output_file(options.grid, ".png", "--grid")
    paths = inputs.check_paths(options.checkpoint)
    if not (paths or options.results or options.baselines is not None):
        raise UserError(
            "nothing to evaluate; name --checkpoint FILE, --results NAME=DIR or --baselines (--help lists all options)"
        )

    from lit_inpaint.evaluation import comparison_text
    from lit_inpaint.evaluation.baselines import find_baselines
    from lit_inpaint.evaluation.comparison_grid import write_comparison_grid
    from lit_inpaint.evaluation.comparison_tables import build_table, print_table
    from lit_inpaint.evaluation.evaluator import Method, apply_subsampling, evaluate, prepare_samples
    from lit_inpaint.evaluation.external_results import open_results, parse_results
    from lit_inpaint.evaluation.method_labels import describe_checkpoint
    from lit_inpaint.evaluation.partial_results import open_partial_results
    from lit_inpaint.evaluation.published_rows import check_table_names, metric_notes, select_tables
    from lit_inpaint.metrics import find_protocol, load_metrics, load_protocol_metrics
    from lit_inpaint.runs.join_processes import joined_processes
    from lit_inpaint.runs.same_images import describe_images

    entry_point.silence_warnings()
    entry_point.tune_malloc()
    with joined_processes() as shard:
        with shard.set_up():
            # Wrong names are errors before any file is read.
            if options.protocol is not None:
                find_protocol(options.protocol)
            baselines = {} if options.baselines is None else find_baselines(options.baselines)
            folders = parse_results(options.results)
            check_table_names(options.published)
            extra = load_metrics(options.metrics or ())

            experiment = inputs.load_named_experiment(options.experiment)
            checkpoints = inputs.read_checkpoints(paths)
            config = inputs.evaluation_config(experiment, checkpoints, data_options)
            protocol = find_protocol(options.protocol or config.get("protocol", inputs.DEFAULT_PROTOCOL))
            if options.metrics is None:
                extra, options.metrics = load_protocol_metrics(protocol), protocol.extra_metrics
            protocol = extra.extend(protocol)
            if protocol.native_size:
                data_options = inputs.native_size_options(data_options)
            data, data_config = build_data(config, data_options)
            trained = {f"{label} ({one.path})": one.config for label, one in checkpoints.items()}
            for line in comparison_text.describe_training_differences(trained, data_config, data_options):
                print(f"warning: {line}", file=sys.stderr)
            loader = prepare_samples(data, options.split, protocol)
            trained_images = describe_images(checkpoints, data, data_config, options.split)
            for line in trained_images:
                print(f"warning: {line}", file=sys.stderr)
            print(data.describe())
            results = open_results(folders, data.samples(options.split), [*checkpoints, *baselines])
            on_device = {label: one.model.to(shard.device) for label, one in checkpoints.items()}
            networks = {label: apply_subsampling(protocol, model.complete) for label, model in on_device.items()}
            methods: dict[str, Method] = {**networks, **results, **baselines}
            partial = None
            if outputs and shard.world == 1:
                identities: dict[str, Path | str] = {label: one.path for label, one in checkpoints.items()}
                identities |= {name: one.identity for name, one in results.items()} | {name: name for name in baselines}
                listed = data.manifest(options.split).digest
                partial = open_partial_results(outputs[0].with_suffix(PARTIAL_SUFFIX), identities, protocol, listed, loader)
            elif outputs:
                print(f"{shard.world} processes share the samples; an interrupted evaluation of several starts over")
        result = evaluate(methods, loader, protocol, shard.device, extra.distribution, partial, shard)
    if not shard.is_first:
        return 0
    manifest = data.manifest(options.split)

    compared = [*checkpoints, *results]
    rows, pairs = result.rows(), result.paired_comparisons(compared, list(baselines))
    published, published_notes = select_tables(protocol.paper, options.published, data, options.split)
    title = f"{options.split} images of {type(data).__name__}, {data.val_transform.describe(data.size)}"
    notes = comparison_text.describe_evaluation(result, data, manifest)
    metrics = [metric.name for metric in protocol.metrics] + [name.partition("=")[0] for name in options.metrics or ()]
    scores = next(iter(result.distribution_scores.values()), ())
    columns = [score.name for score in scores]
    notes += [*published_notes, *metric_notes(published, metrics, columns), *extra.notes, *result.notes()]
    doubts = [*trained_images, *(line for one in results.values() for line in one.notes())]
    notes += doubts
    table = build_table(rows, protocol, title, notes, scores, published)
    print_table(table)
    for line in comparison_text.describe_methods(rows, pairs, protocol, compared or list(methods)):
        print(line)

    facts = {label: describe_checkpoint(one.path, one.model, one.step) for label, one in checkpoints.items()}
    facts |= {name: {"results": str(one.folder), "files": len(one)} for name, one in results.items()}
    content = json_content(result, rows, pairs, facts, published, data, manifest)
    content |= {"split": options.split, "data": data_config, "notes": [*content["notes"], *doubts]}
    write_outputs(outputs, content, table, result, manifest)
    if partial is not None:
        partial.finish()
    if grid is not None:
        write_comparison_grid(grid, methods, loader, GRID_ROWS, title, shard.device)
    return 0


def _parser() -> CommandParser:
    parser = CommandParser("evaluate", "Score checkpoints, results and baselines on the same images and masks.", _EPILOG)
    parser.add_argument(
        "--checkpoint", metavar="FILE", nargs="+", default=[], help=".ckpt files of runs, model folders, or shipped"
    )
    results = "folders of images that other programs completed, with their names in the table"
    parser.add_argument("--results", metavar="NAME=DIR", nargs="+", default=[], help=results)
    parser.add_argument("--experiment", metavar="NAME|FILE", help="evaluate on the data of this experiment")
    protocol = f"(default: the experiment's or the first checkpoint's, else {inputs.DEFAULT_PROTOCOL})"
    parser.add_argument("--protocol", metavar="NAME", help=f"metrics, buckets and rounding {protocol}")
    metrics = "fid kid lpips_alex lpips_vgg lpips_squeeze psnr_hole l1_hole; NAME=FILE: with the network's weights in FILE"
    parser.add_argument("--metrics", metavar="NAME", nargs="+", help=f"columns beside the protocol's: {metrics}")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="images to evaluate on (default: test)")
    baselines = "mean, telea, navier_stokes (without NAME these three), biharmonic (slow), patchmatch, fsr, all"
    parser.add_argument("--baselines", metavar="NAME", nargs="*", help=f"classical methods: {baselines}")
    published = "(default: those of the same data set, masks and size), or none"
    parser.add_argument("--published", metavar="TABLE", nargs="+", help=f"tables of the paper to show {published}")
    parser.add_argument("--grid", metavar="FILE.png", help=f"draw the completions of {GRID_ROWS} images by all methods")
    output = "all numbers to .json or .csv, the table to .md or .tex; beside it the list of samples, with .json their scores"
    parser.add_argument("--output", metavar="FILE", nargs="+", help=f"write {output}")
    return parser


if __name__ == "__main__":
    entry_point.run_command(main)
