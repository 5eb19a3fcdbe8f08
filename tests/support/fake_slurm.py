"""A `scontrol` that answers as SLURM's would, and the variables of a job and its steps, for tests without SLURM."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def fake_scontrol(folder: Path, state: str = "RUNNING", requeue: int = 1, batch: int = 1, refuses: str = "") -> Path:
    """Write `scontrol` into `folder`, which belongs on PATH; returns the file that gets a line for each call.

    Args:
        folder: made if it is needed.
        state: of the job.
        requeue: 0 for a job that may not be requeued.
        batch: 0 for a job that is not sbatch's.
        refuses: what it says, and fails, when it is told to requeue.
    """
    folder.mkdir(exist_ok=True)
    log, program = folder / "calls", folder / "scontrol"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {log}\n'
        f'if [ "$1" = show ]; then echo "JobId=17 JobState={state} Requeue={requeue} Restarts=0 BatchFlag={batch}"; fi\n'
        + (f'if [ "$1" = requeue ]; then echo "{refuses}" >&2; exit 1; fi\n' if refuses else "")
    )
    program.chmod(0o755)
    log.touch()
    return log


def on_path(folder: Path) -> str:
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def in_job(monkeypatch: pytest.MonkeyPatch, folder: Path, restarts: int = 0) -> None:
    """Have this process be the only task of job 17, whose `scontrol` lies in `folder`."""
    monkeypatch.setenv("PATH", on_path(folder))
    for name, value in {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    if restarts:
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))


def step(rank: int, tasks: int, nodes: int = 1, **more: str) -> dict[str, str]:
    """The variables that srun gives to a task of job 17, tasks spread evenly over the nodes."""
    each = tasks // nodes
    return {
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": str(tasks),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_STEP_NUM_NODES": str(nodes),
        "SLURM_STEP_TASKS_PER_NODE": f"{each}(x{nodes})" if nodes > 1 else str(each),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_SRUN_COMM_PORT": "40123",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % each),
        "SLURM_NODEID": str(rank // each),
        **more,
    }
