"""The SLURM job that a process runs in: its name, its starts, and how it comes back after it was interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

_PATIENCE = 30  # seconds for an answer of the controller


@dataclass(frozen=True)
class SlurmJob:
    """A job, not a shell that `salloc` or `srun --pty` opened.

    Attributes:
        name: as `scontrol` takes it: the number, or `<array>_<task>`, since the last task of an array has the array's number.
        restarts: how often it was requeued before this start.
    """

    name: str
    restarts: int

    def requeue(self, number: int) -> str:
        """Put the job back into the queue, unless it was cancelled or may not come back; returns the line to print.

        SLURM then ends all that is left of the job, this process included. `scancel` sends SIGTERM too, as does the scheduler
        that preempts a job; what it was shows in the state, which is no longer RUNNING for a cancelled or expired job.

        Args:
            number: of the signal that came.
        """
        asked = signal.Signals(number).name
        try:
            known = _scontrol("show", "job", "--oneliner", self.name)
        except _RefusedError as error:
            if number != signal.SIGUSR1:
                return f"job {self.name} is not requeued after {asked}: its state is unknown ({error})"
            known = ""
        said = dict(re.findall(r"\b(JobState|Requeue|BatchFlag)=(\w+)", known))
        if said.get("JobState", "RUNNING") != "RUNNING":
            outside = ", so SLURM decides whether it comes back" if said["JobState"] == "COMPLETING" else ""
            return f"job {self.name} is not requeued: it is {said['JobState']}{outside}"
        if said.get("BatchFlag") == "0":
            return f"job {self.name} is not requeued: only jobs of sbatch can be; start it again"
        if said.get("Requeue") == "0":
            return f"job {self.name} is not requeued: it may not be (sbatch --requeue allows it); submit it again"
        try:
            _scontrol("requeue", self.name)
        except _RefusedError as error:
            return f"job {self.name} could not be requeued ({error}); submit it again"
        return f"job {self.name} is requeued and goes on when its turn comes"


def current_job(environment: Mapping[str, str] = os.environ) -> SlurmJob | None:
    """The job that this process runs in, None outside SLURM and in an interactive shell."""
    number = environment.get("SLURM_JOB_ID")
    if number is None or interactive(environment):
        return None
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{task}" if array and task else number
    return SlurmJob(name, int(environment.get("SLURM_RESTART_COUNT", "0")))


def interactive(environment: Mapping[str, str]) -> bool:
    """Whether the job is a shell that somebody sits at; a step of several tasks that is started from there is none."""
    return environment.get("SLURM_JOB_NAME") in ("bash", "interactive") and environment.get("SLURM_STEP_NUM_TASKS", "1") == "1"


class _RefusedError(Exception):
    """What `scontrol` said, in one line."""


def _scontrol(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["scontrol", *arguments], capture_output=True, text=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise _RefusedError("there is no scontrol on this machine") from None
    except OSError as error:
        raise _RefusedError(f"scontrol cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _RefusedError(f"scontrol did not answer within {_PATIENCE} seconds") from None
    if done.returncode != 0:
        raise _RefusedError(" ".join((done.stderr or done.stdout).split()) or f"scontrol ended with status {done.returncode}")
    return done.stdout
