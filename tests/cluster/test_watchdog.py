"""The watchdog's messages; `tests/engine/test_two_processes.py` tests that it detects hanging processes."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_gan import loader, make_batches, make_tiny, make_trainer

from lit_inpaint.cluster import watchdog
from lit_inpaint.cluster.watchdog import Heartbeat, Watchdog, current_activity, stragglers


def beat(rank: int, step: int, activity: str = "training step", waiting: bool = False) -> Heartbeat:
    return Heartbeat(rank, "node", 100 + rank, step, activity, waiting, progress=0, beat=0)


@pytest.mark.parametrize(
    ("beats", "expected"),
    [
        ([beat(0, 5, waiting=True), beat(1, 4, "loading a batch"), beat(2, 5, waiting=True)], [1]),
        ([beat(0, 5, waiting=True), beat(1, 5), beat(2, 5, waiting=True), beat(3, 5)], [1, 3]),
        ([beat(1, 5, waiting=True), beat(0, 5, waiting=True)], [0, 1]),  # all wait: every process is named
        ([beat(0, 5), beat(1, 4, waiting=True)], [1]),
    ],
)
def test_stragglers(beats: list[Heartbeat], expected: list[int]) -> None:
    assert [found.rank for found in stragglers(beats)] == expected


def stack(*functions: tuple[str, str]) -> Any:
    """Build a stack frame with the attributes that are read: file and function of each call, the innermost last."""
    frame = None
    for file, name in functions:
        frame = SimpleNamespace(f_code=SimpleNamespace(co_filename=file, co_name=name), f_back=frame)
    return frame


LOOP = ("/x/lightning/pytorch/loops/training_epoch_loop.py", "advance")
STEP = ("/x/lit_inpaint/engine/inpainter.py", "training_step")
VALIDATION = ("/x/lightning/pytorch/loops/evaluation_loop.py", "run")


@pytest.mark.parametrize(
    ("functions", "activity", "waiting"),
    [
        ([LOOP, ("/x/lightning/pytorch/loops/fetchers.py", "__next__"), ("/x/select.py", "select")], "loading a batch", False),
        ([LOOP, STEP, ("/x/torch/nn/modules/conv.py", "forward")], "training step", False),
        ([LOOP, STEP, ("/x/torch/autograd/graph.py", "_engine_run_backward")], "training step", True),
        ([LOOP, STEP, ("/x/torch/nn/parallel/distributed.py", "_distributed_broadcast_coalesced")], "training step", True),
        ([LOOP, STEP, ("/x/torch/nn/parallel/distributed.py", "forward"), ("/x/a.py", "b")], "training step", False),
        ([LOOP, VALIDATION, ("/x/lit_inpaint/data/inpainting_dataset.py", "__getitem__")], "validation", False),
        (
            [LOOP, VALIDATION, ("/x/y.py", "save_checkpoint"), ("/x/torch/serialization.py", "save")],
            "saving a checkpoint",
            False,
        ),
        ([LOOP, ("/x/torch/distributed/distributed_c10d.py", "all_reduce")], "training step", True),
        ([("/x/main.py", "main")], "between two batches", False),
    ],
)
def test_the_activity_is_read_from_the_stack(functions: list[tuple[str, str]], activity: str, waiting: bool) -> None:
    assert current_activity(stack(*functions)) == (activity, waiting)


def test_one_process_is_not_watched(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path / "ranks", watchdog_timeout=0.1, last=tmp_path / "last.ckpt")
    with watchdog.watching():
        make_trainer(2, watchdog).fit(make_tiny(), loader(make_batches(2)))
    assert not (tmp_path / "ranks").exists()


def test_slurm_kills_processes_that_cannot_end_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scancel, calls = tmp_path / "scancel", tmp_path / "calls"
    scancel.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    scancel.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    watchdog._cancel_slurm_step({"SLURM_JOB_ID": "17"})
    watchdog._cancel_slurm_step({"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "3"})
    until = time.monotonic() + 10
    while not calls.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert calls.read_text() == "--signal=KILL 17.3\n"
    monkeypatch.setenv("PATH", "")
    watchdog._cancel_slurm_step({"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "3"})  # without scancel nothing happens
