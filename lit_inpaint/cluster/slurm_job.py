"""The SLURM job of this process: its name, its number of restarts, and requeueing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

_TIMEOUT_S = 30  # for an answer of SLURM's controller


@dataclass(frozen=True)
class SlurmJob:
    """A SLURM job, not an interactive shell of `salloc` or `srun --pty`.

    Attributes:
        name: as `scontrol` takes it: the job number, or `<array>_<task>`, since an array's last task has the array's number.
        restarts: how often the job was requeued before this start.
    """

    name: str
    restarts: int

    def requeue(self, number: int) -> str:
        """Requeue the job, unless it was cancelled or cannot be requeued; return the line to print.

        SLURM then ends all processes of the job, this one included. Both `scancel` and a preempting scheduler send SIGTERM; the
        job's state tells them apart, since it is not RUNNING for a cancelled or expired job.

        Args:
            number: number of the signal that arrived.
        """
        try:
            description = _scontrol("show", "job", "--oneliner", self.name)
        except _ScontrolError as error:
            if number != signal.SIGUSR1:
                return f"job {self.name} is not requeued after {signal.Signals(number).name}: its state is unknown ({error})"
            description = ""
        fields = dict(re.findall(r"\b(JobState|Requeue|BatchFlag)=(\w+)", description))
        if fields.get("JobState", "RUNNING") != "RUNNING":
            outside = ", so SLURM decides whether it is requeued" if fields["JobState"] == "COMPLETING" else ""
            return f"job {self.name} is not requeued: it is {fields['JobState']}{outside}"
        if fields.get("BatchFlag") == "0":
            return f"job {self.name} is not requeued: only jobs of sbatch can be; start it again"
        if fields.get("Requeue") == "0":
            return f"job {self.name} is not requeued: its options forbid it (sbatch --requeue allows it); submit it again"
        try:
            _scontrol("requeue", self.name)
        except _ScontrolError as error:
            return f"job {self.name} could not be requeued ({error}); submit it again"
        return f"job {self.name} is requeued and resumes when SLURM starts it again"


def current_job(environment: Mapping[str, str] = os.environ) -> SlurmJob | None:
    """Return the job of this process, None outside SLURM and in an interactive shell."""
    number = environment.get("SLURM_JOB_ID")
    if number is None or is_interactive(environment):
        return None
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{task}" if array and task else number
    return SlurmJob(name, int(environment.get("SLURM_RESTART_COUNT", "0")))


def is_interactive(environment: Mapping[str, str]) -> bool:
    """Return whether the job is an interactive shell; a step of several tasks that was started from one is not."""
    return environment.get("SLURM_JOB_NAME") in ("bash", "interactive") and environment.get("SLURM_STEP_NUM_TASKS", "1") == "1"


class _ScontrolError(Exception):
    """Error message of `scontrol`, in one line."""


def _scontrol(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["scontrol", *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise _ScontrolError("there is no scontrol on this machine") from None
    except OSError as error:
        raise _ScontrolError(f"scontrol cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _ScontrolError(f"scontrol did not answer within {_TIMEOUT_S} seconds") from None
    if done.returncode != 0:
        raise _ScontrolError(" ".join((done.stderr or done.stdout).split()) or f"scontrol ended with status {done.returncode}")
    return done.stdout
