"""A run that gets SIGKILL at twenty random moments and resumes each time equals the uninterrupted run.

`python -m pytest tests/runs/test_killed_twenty_times.py -s` prints a log of the kills.
"""

import random
import signal
import time
from pathlib import Path

import forked
import pytest
from tiny_runs import SMALL, TINY, assert_same_run, steps_logged

from lit_inpaint.runs.checkpoint_file import read_checkpoint

KILLS, STEPS = 20, 80
WARM_UP = "{name: warm-up, discriminator: false, iterations: 25, weights: {adversarial: 0.0}}"
STAGES = f"[{WARM_UP}, {{name: adversarial, update: alternating}}]"
LONG = [
    *TINY,
    *SMALL,
    "--trainer.max_steps",
    str(STEPS),
    "--trainer.val_check_interval",
    "6",
    "--checkpoint_every",
    "1",
    "--model.stages",
    STAGES,
]


def start(folder: Path) -> forked.Forked:
    return forked.start(["-m", "lit_inpaint.fit", *LONG, "--run_dir", str(folder)], folder.with_suffix(".log"))


def where(folder: Path) -> str:
    """Describe the state of the run, for the log."""
    if not (folder / "config.yaml").exists():
        return "before the run directory was created"
    if not (folder / "checkpoints" / "last.ckpt").exists():
        return "before the first checkpoint"
    content = read_checkpoint(folder / "checkpoints" / "last.ckpt")  # never truncated
    due = ", validation due" if content["callbacks"]["RunCheckpoint"]["validation_due"] else ""
    part = ", a checkpoint half written" if list((folder / "checkpoints").glob(".*.part")) else ""
    return f"last.ckpt at step {content['global_step']}{due}{part}"


@pytest.mark.xdist_group("kills")
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    run, first_step = start(tmp_path / "uninterrupted"), 0.0
    while run.process.is_alive():
        if not first_step and steps_logged(tmp_path / "uninterrupted"):
            first_step = time.monotonic() - began
        time.sleep(0.02)
    whole = time.monotonic() - began
    assert run.wait() == 0, run.stdout.read_text()

    rng, folder = random.Random(0), tmp_path / "run"
    print(f"\nuninterrupted: first step after {first_step:.1f} s, end after {whole:.1f} s")
    for kill in range(1, KILLS + 1):
        run, began = start(folder), time.monotonic()
        at = began + rng.uniform(0.0, first_step + (whole - first_step) / 8)
        while time.monotonic() < at and run.process.is_alive():
            if steps_logged(folder) >= STEPS * kill // (KILLS + 1):  # kill now: twenty kills have to fit into the run
                at = min(at, time.monotonic() + rng.uniform(0.0, 0.1))
            time.sleep(0.01)
        assert run.process.is_alive(), "ended before the kill: " + run.stdout.read_text()
        run.kill_group()
        assert run.wait() == -signal.SIGKILL
        print(f"kill {kill:2} after {time.monotonic() - began:5.2f} s: {where(folder)}")
    run = start(folder)
    assert run.wait() == 0, run.stdout.read_text()
    assert_same_run(folder, tmp_path / "uninterrupted")
