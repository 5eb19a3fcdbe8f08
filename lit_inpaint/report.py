"""Look at runs in a browser: `python -m lit_inpaint.report runs/lpi_demo/<time> --output report.html`."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser, build_data, whole_number
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import output_file, write_output

if TYPE_CHECKING:
    from lit_inpaint.reporting.html_page import Gallery, Grids
    from lit_inpaint.reporting.load_runs import RunRecord

_EPILOG = """
One HTML file, for one run or several side by side, which needs neither a server nor a network. Worst and best images are those
of the last sample grid; --images N completes the whole validation set again with the run's checkpoint and takes the N of either
end. That needs the data; where it lies elsewhere now, say so behind the runs: --data.root DIR
"""
_FROM_GRID = 4
_LARGE = 15e6  # bytes


def main(argv: list[str]) -> int:
    """Write the page; returns the exit status."""
    parser = CommandParser("report", "Curves, tables, samples and settings of runs as one HTML page.", _EPILOG)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders")
    parser.add_argument("--output", metavar="FILE.html", required=True, help="where the page goes")
    parser.add_argument("--images", metavar="N", type=whole_number(1), help="complete the validation set anew: N worst, N best")
    parser.add_argument("--weights", choices=("best", "last"), default="best", help="of which checkpoint (default: best)")
    parser.add_argument(
        "--grids", metavar="N", type=whole_number(1), default=24, help="sample grids of a run, spread evenly (default 24)"
    )
    options, data_options = parser.parse_with_data(argv)
    output = output_file(options.output, ".html")
    if data_options and options.images is None:
        raise UserError(f"{data_options[0]} goes with --images N; without it no image is read")

    from lit_inpaint.reporting.html_page import render
    from lit_inpaint.reporting.load_runs import read_runs

    entry_point.silence_warnings()
    runs = read_runs([Path(name) for name in options.runs])
    grids = [_grids(run, options.grids) for run in runs]
    if options.images is None:
        galleries = [_from_grid(run) for run in runs]
    else:
        galleries = [_completed(run, options.images, options.weights, data_options) for run in runs]
    page = render(runs, grids, galleries, _made_with()).encode("utf-8")
    with write_output(output) as part:
        part.write_bytes(page)
    print(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in {output}, {len(page) / 1e6:.1f} MB")
    if len(page) > _LARGE:
        print("That is large for a page; fewer --grids or --images make it smaller")
    return 0


def _grids(run: RunRecord, count: int) -> Grids:
    """Up to `count` of the sample grids, the first and the last among them."""
    from lit_inpaint.reporting.html_page import Grids
    from lit_inpaint.reporting.image_examples import data_uri, read_picture

    last = len(run.samples) - 1
    count = min(count, len(run.samples))
    places = sorted({round(last * place / (count - 1)) for place in range(count)}) if count > 1 else [last] * count
    return Grids([(run.samples[place][0], data_uri(read_picture(run.samples[place][1]))) for place in places], len(run.samples))


def _from_grid(run: RunRecord) -> Gallery:
    from lit_inpaint.reporting.html_page import Gallery
    from lit_inpaint.reporting.image_examples import cut_grid, read_picture, worst_and_best

    if not run.samples:
        return Gallery((), (), "There are no grids in samples/; --images N completes validation samples anew.")
    step, path = run.samples[-1]
    found = cut_grid(read_picture(path))
    if len(found) < 2:
        return Gallery((), (), "The last grid does not show two square samples; --images N completes validation samples anew.")
    worst, best = worst_and_best(found, _FROM_GRID)
    note = f"Of the {len(found)} samples in the grid of step {step:,}, measured on it; --images N looks at the whole set."
    return Gallery(worst, best, note)


def _completed(run: RunRecord, count: int, weights: str, data_options: Sequence[str]) -> Gallery:
    """Worst and best of the whole validation set, with the run's own data and checkpoint."""
    import torch

    from lit_inpaint.reporting.html_page import Gallery
    from lit_inpaint.reporting.image_examples import evaluate_examples
    from lit_inpaint.runs.checkpoint_file import load

    path = run.path / "checkpoints" / f"{weights}.ckpt"
    model = load(path)
    data, _ = build_data({key: run.config[key] for key in ("model", "data", "seed") if key in run.config}, data_options)
    data.prepare_data()
    data.setup("validate")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    worst, best, total = evaluate_examples(model.to(device), data.val_dataloader(), count, device)
    return Gallery(worst, best, f"Of all {total:,} validation samples, completed anew with {path.name}.")


def _made_with() -> dict[str, str]:
    """The programs that the checkpoints name too, and the machine."""
    import lightning
    import numpy as np
    import torch

    import lit_inpaint

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads, no GPU"
    return {
        "lit_inpaint": lit_inpaint.__version__,
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
    }


if __name__ == "__main__":
    entry_point.run_command(main)
