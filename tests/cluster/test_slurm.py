"""The job file of `experiments/cluster/` on a real SLURM: array, preemption, cancellation, contradicting options."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from slurm import Slurm
from tiny_runs import assert_same_run, content, steps_logged

pytestmark = pytest.mark.xdist_group("cluster")
TEMPLATE = Path(__file__).parents[2] / "experiments" / "cluster" / "fit.sbatch"


@dataclass(frozen=True)
class Job:
    """A job of the job file."""

    slurm: Slurm
    project: Path
    number: str

    @property
    def log(self) -> str:
        """Of all its starts."""
        file = self.project / f"lit_inpaint-{self['JobId']}.log"
        return file.read_text() if file.exists() else ""

    def __getitem__(self, field: str) -> str:
        """Return a field of `scontrol show job`."""
        line = self.slurm.run("scontrol", "show", "job", "--oneliner", self.number).splitlines()[0]
        return dict(word.split("=", 1) for word in line.split() if "=" in word)[field]

    def wait_for(self, what: str, there: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < end, f"{what} not reached within {seconds} s; job {self['JobState']}:\n{self.log}"
            time.sleep(0.05)

    def wait_for_step(self, run: Path, step: int) -> None:
        self.wait_for(f"step {step}", lambda: steps_logged(run) >= step)

    def end(self) -> str:
        """Wait for the end of the job and return its state."""
        self.wait_for("the end", lambda: self["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"))
        return self["JobState"]


def submit(slurm: Slurm, project: Path, *experiments: str, sbatch: tuple[str, ...], settings: tuple[str, ...] = ()) -> Job:
    command = ["sbatch", "--parsable", "--cpus-per-task=1", *sbatch, str(TEMPLATE), *experiments, *settings]
    return Job(slurm, project, slurm.run(*command, folder=project))


def test_a_preempted_job_is_requeued_and_equals_the_uninterrupted_run(slurm: Slurm, project: Path, uninterrupted: Path) -> None:
    """On two nodes; the uninterrupted run has one."""
    settings = ("--wandb.mode", "offline")
    job = submit(slurm, project, "one.yaml", sbatch=("--nodes=2", "--ntasks-per-node=1"), settings=settings)
    run = project / "runs" / "one" / job.number
    job.wait_for_step(run, 2)
    slurm.run("scancel", "--signal=USR1", job.number)
    job.wait_for("the queue", lambda: job["Restarts"] == "1")
    saved = content(run)["global_step"]
    assert 2 <= saved < 12
    assert job.end() == "COMPLETED"

    log = job.log
    assert log.count(f"SIGUSR1: saved runs/one/{job.number}/checkpoints/last.ckpt at step {saved};") == 1
    assert log.count(f"resumed at step {saved}") == 1
    for word in ("Traceback", "Warning", "sync_dist", "Restor"):
        assert word not in log
    assert log.count("step 12: PSNR") == 1
    assert list((project / "runs" / "one").iterdir()) == [run]
    assert_same_run(run, uninterrupted)

    number = (run / "wandb" / "run_id.txt").read_text().strip()
    parts = list((run / "wandb").glob("offline-run-*"))
    assert len(parts) == 2
    assert {path.name.rpartition("-")[2] for path in parts} == {number}


def test_an_array_trains_two_experiments_and_a_cancelled_one_is_not_requeued(slurm: Slurm, project: Path) -> None:
    options = ("--array=0-1", "--ntasks-per-node=1")
    settings = ("--wandb.mode", "disabled", "--data.val_crops", "1")
    array = submit(slurm, project, "one.yaml", "two.yaml", sbatch=options, settings=settings)
    one, two = (Job(slurm, project, f"{array.number}_{task}") for task in (0, 1))
    first, second = (project / "runs" / name / job.number for name, job in (("one", one), ("two", two)))
    two.wait_for_step(second, 2)
    slurm.run("scancel", two.number)
    assert two.end() == "CANCELLED"
    saved = content(second)["global_step"]
    assert 2 <= saved < 12
    assert f"SIGTERM: saved runs/two/{two.number}/checkpoints/last.ckpt at step {saved};" in two.log
    assert one.end() == "COMPLETED"
    assert content(first)["global_step"] == 12
    assert slurm.run("squeue", "--noheader", "--array") == ""
    assert two["Restarts"] == "0"


def test_tasks_that_do_not_fit_the_devices_are_one_line(slurm: Slurm, project: Path) -> None:
    job = submit(slurm, project, "one.yaml", sbatch=("--ntasks-per-node=2",), settings=("--trainer.devices", "4"))
    assert job.end() == "FAILED"
    assert job["ExitCode"] == "2:0"
    (line,) = [line for line in job.log.splitlines() if "error: " in line and "srun: " not in line]
    assert line.startswith("0: error: --trainer.devices 4, but srun started 2 processes per node")
    assert "use srun --ntasks-per-node=4, or leave --trainer.devices out" in line
    assert "Traceback" not in job.log


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ((), (), "error: 0 experiments; name one"),
        (("one.yaml", "two.yaml"), (), "error: 2 experiments; name one, or several and sbatch --array=0-1"),
        (("one.yaml",), ("--array=3",), "error: there is no experiment 3, counting from 0; --array=0-0 fits"),
    ],
)
def test_experiments_that_do_not_fit_the_array_are_one_line(
    slurm: Slurm, project: Path, names: tuple[str, ...], options: tuple[str, ...], message: str
) -> None:
    job = submit(slurm, project, *names, sbatch=options)
    assert job.end() == "FAILED"
    assert job.log.startswith(message)
    assert job.log.count("\n") == 1
