"""Draw the first training batch of an experiment, or sample masks.

`python -m lit_inpaint.preview --experiment lpi_demo --output preview.png`
`python -m lit_inpaint.preview --masks FreeForm Boxes --output masks.png`
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lit_inpaint.config import entry_point, load_yaml
from lit_inpaint.config.command_line import CommandParser, build_data, whole_number
from lit_inpaint.config.parse_mask_sources import parse_mask_sources
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import output_file, write_output

MAX_ROWS = 16
"""Number of samples of the batch that are drawn at most; the printed mask ratio is that of the whole batch."""
NUM_RATIOS = 200
"""Number of masks of each source whose mask ratios are counted."""
SIZE, COUNT, SEED = 256, 8, 0
_EPILOG = """
With --experiment, any setting of the data can be given by its place in the YAML: --data.root DIR  --data.batch_size 16
With --masks, a SPEC is the name of a source, the import path of your own class, a folder of mask files, or a name with options:
  --masks FreeForm '{class_path: Boxes, init_args: {count: [1, 1], side: [0.3, 0.7]}}' my_package.MyMasks ~/masks
  --masks all (or without a SPEC) draws every source of lit_inpaint.masks that has no required option
"""


def main(argv: list[str]) -> int:
    """Draw the first training batch, or masks; return the exit status."""
    parser = CommandParser("preview", "Draw the first training batch of an experiment, or sample masks.", _EPILOG)
    parser.add_argument("--experiment", metavar="NAME|FILE", help="draw the first batch of this file of experiments/")
    parser.add_argument("--masks", metavar="SPEC", nargs="*", help="draw masks of these sources, or of all")
    parser.add_argument("--output", metavar="FILE.png", required=True, help="image file to write")
    parser.add_argument("--size", metavar="PIXELS", type=whole_number(1), help=f"side of the masks (default {SIZE})")
    parser.add_argument("--count", metavar="N", type=whole_number(1), help=f"masks to draw of each source (default {COUNT})")
    parser.add_argument("--seed", metavar="N", type=whole_number(0), help=f"seed of the masks (default {SEED})")
    options, data_options = parser.parse_with_data(argv)
    _check_mode(options, data_options)
    output = output_file(options.output, ".png")
    if options.masks is None:
        _draw_batch(options.experiment, data_options, output)
    else:
        given = ((options.size, SIZE), (options.count, COUNT), (options.seed, SEED))
        _draw_masks(options.masks, output, *(default if value is None else value for value, default in given))
    return 0


def _check_mode(options: argparse.Namespace, data_options: Sequence[str]) -> None:
    if options.experiment is None and options.masks is None:
        raise UserError("give --experiment NAME for a training batch, or --masks for masks alone (--help lists all options)")
    if options.experiment is not None and options.masks is not None:
        raise UserError("--experiment draws a training batch and --masks draws masks alone; give one of the two")
    if options.masks is None:
        for option, data_option in (("size", "data.size"), ("count", "data.batch_size"), ("seed", "data.seed")):
            if getattr(options, option) is not None:
                raise UserError(f"--{option} goes with --masks; for a training batch give --{data_option}")
    elif data_options:
        raise UserError(f"{data_options[0]} goes with --experiment; --masks takes --size, --count and --seed")


def _draw_batch(experiment: str, data_options: Sequence[str], output: Path) -> None:
    config = load_yaml.load_experiment(experiment)
    data, _ = build_data(config, data_options)

    from lit_inpaint.types import check_batch
    from lit_inpaint.visualization.grids import draw_batch

    data.workers = 0  # one batch does not repay the start of workers, and does not depend on their number
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    ratio, count = check_batch(batch), len(batch["name"])
    size = f"{count} x {data.size}x{data.size} px"
    title = f"{config['experiment']}: first training batch, {size}, mean mask ratio {ratio:.1%}"
    with write_output(output) as part:
        draw_batch(batch, MAX_ROWS, title).save(part, format="PNG")
    print(data.describe())
    print(f"First batch: {tuple(batch['image'].shape)}, mean mask ratio {ratio:.1%} (1 = hole, drawn white in the mask)")
    mean = ", ".join(f"{value:.3f}" for value in batch["image"].double().mean(dim=(0, 2, 3)).tolist())
    print(f"Mean color [{mean}], RGB in [0, 1]")
    print(f"Drawn in {output}" + (f" (the first {MAX_ROWS} of {count} samples)" if count > MAX_ROWS else ""))


def _draw_masks(specs: Sequence[str], output: Path, size: int, count: int, seed: int) -> None:
    sources = parse_mask_sources(specs)

    from lit_inpaint.visualization.mask_rows import draw_mask_rows, sample_mask_row

    rows = [sample_mask_row(source, size, count, NUM_RATIOS, seed) for source in sources]
    title = f"{size}x{size} px, seed {seed}, white = hole; mask ratio: mean ± standard deviation of {NUM_RATIOS} masks"
    with write_output(output) as part:
        draw_mask_rows(rows, title).save(part, format="PNG")
    for row in rows:
        print(f"{row.name}: {row.summary}")
    print(f"Drawn in {output}: {count} masks of each source; mask ratios are those of {NUM_RATIOS}")


if __name__ == "__main__":
    entry_point.run_command(main)
