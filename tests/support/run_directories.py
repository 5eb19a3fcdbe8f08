"""Run directories as `fit` leaves them, or in a given state, written without training."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image

from lit_inpaint.callbacks.samples import FIRST_COLUMN, LAST_COLUMNS
from lit_inpaint.runs.run_dir import RunDir
from lit_inpaint.types import composite
from lit_inpaint.visualization.grids import GridRow, draw_grid, overlay_mask, save_grid

STEPS = (10, 20, 30)
SCORES = {"val/psnr": 20.25, "val/ssim": 0.625, "val/l1": 4.75, "val/10-20%/psnr": 23.5, "val/20-30%/psnr": 19.125}
"""Validation metrics before the first step; each rises by a thousandth per step."""
GRID_SCORES = [{"name": f"image {number}", "mask_ratio": 0.24, "psnr": 30.0 - number} for number in range(4)]
"""Scores in the files of sample grids."""
HEADER = ["step", *SCORES, "train/generator", "train/discriminator", "train/lr_generator", "train/stage"]


def sample_grid(step: int, rows: int = 4, stages: int = 0) -> Image.Image:
    """A sample grid, with `stages` further columns. The error rises with the row number and falls with the step."""
    rng = torch.Generator().manual_seed(1)
    drawn = []
    for number in range(rows):
        target = torch.rand(3, 40, 40, generator=rng)
        mask = torch.zeros(1, 40, 40)
        mask[:, 8:24, 8:32] = 1
        output = target + 0.02 * (number + 1) * 30 / step
        completed = composite(target[None], output[None].clamp(0, 1), mask[None])[0]
        label = f"image {number} with a name\nmask ratio 24%\n20.0 dB"
        drawn.append(GridRow(label, [overlay_mask(target, mask), *[mask] * stages, output, completed, target]))
    return draw_grid(drawn, (FIRST_COLUMN, *["edges"] * stages, *LAST_COLUMNS), title=f"LPINet, step {step}")


def write_run(run: Path, lr: float = 1e-3, offset: float = 0.0, manifest: str = "ab" * 32, finished: bool = True) -> Path:
    """Write a run directory without checkpoints.

    Args:
        run: the folder.
        lr: learning rate in its configuration and log.
        offset: added to every validation metric and score.
        manifest: digest of the evaluated samples.
        finished: whether `final_evaluation.json` exists.
    """
    (run / "samples").mkdir(parents=True)
    settings = {"blocks": 1, "generator_optimizer": {"init_args": {"lr": lr}}, "note": "</script><b>bold</b>"}
    model = {"class_path": "lit_inpaint.papers.LPINet", "init_args": settings}
    data = {"class_path": "lit_inpaint.data.DemoPhotos", "init_args": {"size": 40}}
    (run / "config.yaml").write_text(yaml.safe_dump({"experiment": "lpi_demo", "seed": 7, "model": model, "data": data}))
    lines = [",".join(HEADER)]
    for step in STEPS:
        gain = step / 1000 + offset
        lines.append(",".join([str(step), *(str(value + gain) for value in SCORES.values()), "", "", "", ""]))
        lines.append(",".join([str(step), *[""] * len(SCORES), str(1 / step), str(step / 64), str(lr), "adversarial"]))
        save_grid(sample_grid(step), run / "samples" / f"step_{step:07d}.png", GRID_SCORES)
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    rows = [
        {"method": method, "protocol": "lpi", "bucket": bucket, "metric": metric, "value": value, "n": n, "manifest": manifest}
        for method, base in (("LPINet", 21.375 + offset), ("Mean fill", 22.5))
        for bucket, n in (("10-20%", 12), ("20-30%", 0))
        for metric, value in (("psnr", base if n else None), ("l1", 30 - base if n else None))
    ]
    if finished:
        (run / "final_evaluation.json").write_text(json.dumps({"rows": rows}))
    return run


CONFIG: dict[str, Any] = {
    "experiment": "demo",
    "seed": 0,
    "model": {"class_path": "Net", "init_args": {"blocks": 1}},
    "data": {"class_path": "Data", "init_args": {"size": 64, "root": "a", "workers": 0}},
    "trainer": {"max_steps": 8, "max_epochs": None, "max_time": None, "devices": "auto"},
    "ema": None,
}
OTHER = {**CONFIG, "model": {"class_path": "Net", "init_args": {"blocks": 4}}}


def make_run_dir(path: Path, state: str) -> None:
    """Create a run directory in a given state."""
    if state == "nothing":
        return
    run = RunDir(path)
    run.open(yaml.safe_dump(OTHER if state == "other settings" else CONFIG))
    if state != "only started":
        run.checkpoints.mkdir()
        run.last.write_bytes(b"checkpoint")
    if state == "finished":
        run.finish(8)
    run.unlock()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the directory in another process."""
    code = (
        f"import fcntl, sys; f = open({str(path / '.lock')!r}, 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()
