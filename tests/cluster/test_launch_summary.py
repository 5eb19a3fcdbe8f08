import re
import socket
from pathlib import Path

import pytest

from lit_inpaint.cluster.launch_info import LaunchInfo
from lit_inpaint.cluster.launch_summary import describe_batch_size, file_system, launch_summary
from lit_inpaint.cluster.resolve_devices import Devices
from lit_inpaint.engine.ddp_strategy import describe_strategy
from lit_inpaint.settings import Stage

SRUN = LaunchInfo("srun", nodes=2, per_node=4)


@pytest.mark.parametrize(
    ("batch", "processes", "in_experiment", "line"),
    [
        (16, 1, 16, "16 x 1 process = 16, as in the experiment's file"),
        (16, 4, 16, "16 x 4 processes = 64; 16 in the experiment's file: --data.batch_size 4 restores it"),
        (
            4,
            3,
            16,
            "4 x 3 processes = 12; 16 in the experiment's file, which 3 processes cannot share evenly: "
            "--data.batch_size 5 gives 15",
        ),
        (5, 3, 16, "5 x 3 processes = 15; 16 in the experiment's file, which 3 processes cannot share evenly$"),
        (1, 4, 1, "1 x 4 processes = 4; 1 in the experiment's file, which 4 processes cannot share evenly$"),
    ],
)
def test_the_effective_batch_size(batch: int, processes: int, in_experiment: int, line: str) -> None:
    assert re.fullmatch(line, describe_batch_size(batch, processes, in_experiment))


def test_the_lines_of_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    lines = launch_summary(SRUN, Devices(2, 4), "CPU", "a batch", "ddp", "32-true", tmp_path / "17", resumes=True)
    assert lines == [
        "Launch",
        "  processes   8 = 2 nodes x 4 devices (CPU), started by srun",
        "  batch       a batch",
        "  strategy    ddp",
        "  precision   32-true",
        f"  directory   {tmp_path / '17'} ({file_system(tmp_path)}), resumes",
        f"  SLURM job   17, start 2 (requeued 1 time), on {socket.gethostname()}",
    ]
    assert file_system(Path("/proc/self")) == "proc"


def test_a_requested_strategy_is_named_as_requested() -> None:
    requested = describe_strategy(4, "ddp_find_unused_parameters_true", (Stage("all"),), has_discriminator=False)
    assert requested == "ddp_find_unused_parameters_true, as requested"
    assert describe_strategy(4, "auto", (Stage("all"),), has_discriminator=False).startswith("ddp, plain")
