import re
from pathlib import Path
from signal import SIGTERM, SIGUSR1
from typing import Any

import pytest
from fake_slurm import fake_scontrol, on_path

from lit_inpaint.cluster.slurm_job import SlurmJob, current_job


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "17"}, SlurmJob("17", 0)),
        ({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "2"}, SlurmJob("17", 2)),
        # The last task of an array has the number of the array: `scontrol requeue 17` would requeue all its tasks.
        ({"SLURM_JOB_ID": "17", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}, SlurmJob("17_3", 0)),
        ({"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "interactive"}, None),
        ({"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "bash", "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "bash", "SLURM_STEP_NUM_TASKS": "4"}, SlurmJob("17", 0)),
    ],
)
def test_the_job_of_a_process(variables: dict[str, str], expected: SlurmJob | None) -> None:
    assert current_job(variables) == expected


REQUEUED, NOT_REQUEUED = "is requeued and resumes", "is not requeued"


@pytest.mark.parametrize(
    ("number", "answers", "line", "requeued"),
    [
        (SIGUSR1, {}, REQUEUED, True),
        (SIGTERM, {}, REQUEUED, True),  # preempted, with time to save
        (SIGTERM, {"state": "CANCELLED"}, f"{NOT_REQUEUED}: it is CANCELLED", False),
        (SIGUSR1, {"state": "CANCELLED"}, f"{NOT_REQUEUED}: it is CANCELLED", False),  # while the run was saving
        (SIGTERM, {"state": "TIMEOUT"}, f"{NOT_REQUEUED}: it is TIMEOUT", False),
        (SIGUSR1, {"requeue": 0}, r"its options forbid it \(sbatch --requeue allows it\); submit it again", False),
        (SIGUSR1, {"batch": 0}, "only jobs of sbatch can be", False),
        (SIGUSR1, {"error": "Access/permission denied"}, r"could not be requeued \(Access/permission denied\); submit", True),
    ],
)
def test_which_jobs_are_requeued(
    number: int, answers: dict[str, Any], line: str, requeued: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = fake_scontrol(tmp_path / "bin", **answers)
    monkeypatch.setenv("PATH", on_path(tmp_path / "bin"))
    line_printed = SlurmJob("17_3", 0).requeue(number)
    assert line_printed.startswith("job 17_3 ")
    assert re.search(line, line_printed), line_printed
    assert ("requeue 17_3" in log.read_text().splitlines()) == requeued


def test_a_machine_without_scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (
        SlurmJob("17", 0).requeue(SIGUSR1)
        == "job 17 could not be requeued (there is no scontrol on this machine); submit it again"
    )
    assert "is not requeued after SIGTERM: its state is unknown" in SlurmJob("17", 0).requeue(SIGTERM)
