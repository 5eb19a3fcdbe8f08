"""A fake `scontrol`, and the environment variables of a SLURM job and its steps, for tests without SLURM."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def fake_scontrol(folder: Path, state: str = "RUNNING", requeue: int = 1, batch: int = 1, error: str = "") -> Path:
    """Write `scontrol` into `folder`, for PATH; return the file that gets a line for each call.

    Args:
        folder: created if it is needed.
        state: of the job.
        requeue: 0 for a job whose options forbid requeueing.
        batch: 0 for a job that sbatch did not start.
        error: message with which `scontrol requeue` fails; empty for success.
    """
    folder.mkdir(exist_ok=True)
    log, program = folder / "calls", folder / "scontrol"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {log}\n'
        f'if [ "$1" = show ]; then echo "JobId=17 JobState={state} Requeue={requeue} Restarts=0 BatchFlag={batch}"; fi\n'
        + (f'if [ "$1" = requeue ]; then echo "{error}" >&2; exit 1; fi\n' if error else "")
    )
    program.chmod(0o755)
    log.touch()
    return log


def on_path(folder: Path) -> str:
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def in_job(monkeypatch: pytest.MonkeyPatch, folder: Path, restarts: int = 0) -> None:
    """Set the environment variables of the only task of job 17, with `scontrol` in `folder`."""
    monkeypatch.setenv("PATH", on_path(folder))
    for name, value in {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    if restarts:
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))


def step(rank: int, tasks: int, nodes: int = 1, **more: str) -> dict[str, str]:
    """Return the variables that srun sets in a task of job 17; each node has the same number of tasks."""
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
