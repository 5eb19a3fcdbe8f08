"""Write runs as one HTML page: `python -m lit_inpaint.report runs/lpi_demo/<time> --output report.html`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser, build_data, whole_number
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import output_file, write_output

if TYPE_CHECKING:
    from lit_inpaint.reporting.load_runs import RunRecord
    from lit_inpaint.reporting.worst_and_best import Gallery

_EPILOG = """
The page shows one run or compares several. It is one file and needs no server and no network. Worst and best images are cut
from the last sample grid. With --images N they are the N worst and N best of the whole validation set, completed again with
the run's checkpoint; this reads the data. If the data has moved, append its new place: --data.root DIR
"""
_NUM_FROM_GRID = 4
_LARGE = 15e6  # bytes


def main(argv: list[str]) -> int:
    """Write the page; returns the exit status."""
    parser = CommandParser("report", "Curves, tables, samples and settings of runs as one HTML page.", _EPILOG)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directories")
    parser.add_argument("--output", metavar="FILE.html", required=True, help="file to write")
    parser.add_argument("--images", metavar="N", type=whole_number(1), help="complete the validation set: N worst, N best")
    parser.add_argument("--weights", choices=("best", "last"), default="best", help="checkpoint for --images (default: best)")
    parser.add_argument(
        "--grids", metavar="N", type=whole_number(1), default=24, help="sample grids per run, evenly spaced (default 24)"
    )
    options, data_options = parser.parse_with_data(argv)
    output = output_file(options.output, ".html")
    if data_options and options.images is None:
        raise UserError(f"{data_options[0]} goes with --images N; without it no data is read")

    import numpy as np

    from lit_inpaint.reporting.load_runs import load_runs
    from lit_inpaint.reporting.page import render
    from lit_inpaint.reporting.sample_grids import choose_grids
    from lit_inpaint.runs.environment_snapshot import environment_info

    entry_point.silence_warnings()
    runs = load_runs([Path(name) for name in options.runs])
    grids = [choose_grids(run.samples, options.grids) for run in runs]
    if options.images is None:
        galleries = [_gallery_from_grid(run) for run in runs]
    else:
        galleries = [_gallery_from_data(run, options.images, options.weights, data_options) for run in runs]
    environment = {name: str(value) for name, value in {**environment_info(), "numpy": np.__version__}.items()}
    page = render(runs, grids, galleries, environment).encode("utf-8")
    with write_output(output) as part:
        part.write_bytes(page)
    print(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in {output}, {len(page) / 1e6:.1f} MB")
    if len(page) > _LARGE:
        print("That is large for a page; fewer --grids or --images make it smaller")
    return 0


def _gallery_from_grid(run: RunRecord) -> Gallery:
    from lit_inpaint.reporting.sample_grids import cut_grid, read_grid
    from lit_inpaint.reporting.worst_and_best import Gallery, worst_and_best
    from lit_inpaint.visualization.grids import read_scores

    if not run.samples:
        return Gallery((), (), "There are no grids in samples/; --images N completes validation samples.")
    step, path = run.samples[-1]
    grid, scores = read_grid(path), read_scores(path)
    if not scores:
        return Gallery((), (), f"{path.name} records no scores of its rows; --images N completes validation samples.")
    examples = cut_grid(grid, scores)
    if len(examples) < 2:
        return Gallery((), (), "The last grid does not show two square samples; --images N completes validation samples.")
    note = f"Of the {len(examples)} samples in the grid of step {step:,}, by PSNR in full size; --images N takes the whole set."
    return Gallery(*worst_and_best(examples, _NUM_FROM_GRID), note)


def _gallery_from_data(run: RunRecord, count: int, weights: str, data_options: Sequence[str]) -> Gallery:
    """Complete the validation set with the run's own data and checkpoint."""
    import torch

    from lit_inpaint.reporting.worst_and_best import Gallery, evaluate_examples
    from lit_inpaint.runs.checkpoint_file import load

    path = run.path / "checkpoints" / f"{weights}.ckpt"
    model = load(path)
    data, _ = build_data({key: run.config[key] for key in ("model", "data", "seed") if key in run.config}, data_options)
    data.prepare_data()
    data.setup("validate")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    worst, best, total = evaluate_examples(model.to(device), data.val_dataloader(), count, device)
    return Gallery(worst, best, f"Of all {total:,} validation samples, completed with {path.name}.")


if __name__ == "__main__":
    entry_point.run_command(main)
