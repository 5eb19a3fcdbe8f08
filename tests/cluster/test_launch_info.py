import re
import socket
from pathlib import Path

import pytest
from fake_slurm import step

from lit_inpaint.cluster.launch_info import LaunchInfo, find_launch
from lit_inpaint.cluster.launch_summary import describe_batch_size, file_system, launch_summary
from lit_inpaint.cluster.resolve_devices import Devices, resolve_devices
from lit_inpaint.engine.ddp_strategy import describe_strategy
from lit_inpaint.errors import UserError
from lit_inpaint.settings import Stage


def torchrun(rank: int = 0, local: int = 2, nodes: int = 1, **more: str) -> dict[str, str]:
    return {
        "TORCHELASTIC_RUN_ID": "none",
        "RANK": str(rank),
        "WORLD_SIZE": str(local * nodes),
        "LOCAL_WORLD_SIZE": str(local),
        "GROUP_RANK": str(rank // local),
        "GROUP_WORLD_SIZE": str(nodes),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
        **more,
    }


@pytest.mark.parametrize(
    ("variables", "launcher", "rank", "node", "nodes", "per_node"),
    [
        ({}, "Lightning", 0, 0, 1, None),
        ({"LOCAL_RANK": "2"}, "Lightning", 2, 0, 1, None),
        ({"NODE_RANK": "1"}, "Lightning", 0, 1, 1, None),
        (torchrun(3, 2, 2), "torchrun", 3, 1, 2, 2),
        (step(5, 8, 2), "srun", 5, 1, 2, 4),
        (step(1, 2, 1), "srun", 1, 0, 1, 2),
        # srun starts torchrun once on each node.
        ({**step(1, 2, 2), **torchrun(5, 4, 2)}, "torchrun", 5, 1, 2, 4),
        # A batch script of one task, without srun, and shells that somebody sits at.
        ({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, "Lightning", 0, 0, 1, None),
        ({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, "Lightning", 0, 0, 1, None),
        (step(0, 1, 1, SLURM_JOB_NAME="bash"), "Lightning", 0, 0, 1, None),
        (step(1, 2, 1, SLURM_JOB_NAME="bash"), "srun", 1, 0, 1, 2),
    ],
)
def test_who_started_the_processes(
    variables: dict[str, str], launcher: str, rank: int, node: int, nodes: int, per_node: int | None
) -> None:
    found = find_launch(variables)
    assert (found.launcher, found.rank, found.node, found.nodes, found.per_node) == (launcher, rank, node, nodes, per_node)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "4"}, "has 4 tasks, but was started without srun.*put srun before python"),
        (
            {**step(0, 4), **torchrun(0, 4)},
            r"srun started torchrun 4 times, but torchrun runs on 1 node; .*--ntasks-per-node=1",
        ),
        (step(0, 3, 2, SLURM_STEP_TASKS_PER_NODE="2,1"), "srun started 1 to 2 tasks on 2 nodes; .*--ntasks-per-node=N"),
        (torchrun(0, 2, 2, WORLD_SIZE="3"), "torchrun started 3 processes on 2 nodes, 2 of them here; .*--nproc-per-node"),
    ],
)
def test_two_launchers_and_half_a_launcher(variables: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_launch(variables)


SRUN, TORCHRUN, ALONE = (
    LaunchInfo("srun", nodes=2, per_node=4),
    LaunchInfo("torchrun", nodes=2, per_node=4),
    LaunchInfo("Lightning"),
)


@pytest.mark.parametrize(
    ("launch", "devices", "num_nodes", "gpus", "expected"),
    [
        (SRUN, "auto", 1, None, Devices(2, 4)),  # the user says nothing
        (SRUN, 4, 2, 4, Devices(2, 4)),
        (TORCHRUN, "0,1,2,3", 1, 8, Devices(2, 4)),
        (TORCHRUN, -1, 2, 4, Devices(2, 4)),
        (ALONE, "auto", 1, None, Devices(1, 1)),
        (ALONE, "auto", 1, 4, Devices(1, 4)),
        (ALONE, [1, 3], 1, 4, Devices(1, 2)),
        (ALONE, 3, 1, None, Devices(1, 3)),
    ],
)
def test_devices_are_what_the_user_says_or_else_the_launcher(
    launch: LaunchInfo, devices: object, num_nodes: int, gpus: int | None, expected: Devices
) -> None:
    assert resolve_devices(launch, devices, num_nodes, "auto", gpus) == expected


@pytest.mark.parametrize(
    ("launch", "devices", "num_nodes", "strategy", "gpus", "message"),
    [
        (
            LaunchInfo("srun", per_node=1),
            4,
            1,
            "auto",
            4,
            "devices 4, but srun started 1 process per node.*srun --ntasks-per-node=4",
        ),
        (SRUN, 2, 2, "auto", None, "devices 2, but srun started 4 processes per node.*--ntasks-per-node=2, or leave"),
        (SRUN, "auto", 3, "auto", None, "num_nodes 3, but srun runs on 2 nodes: use srun --nodes=3, or leave"),
        (TORCHRUN, [0, 1], 1, "auto", None, "devices 0,1, but torchrun started 4 .*torchrun --nproc-per-node=2"),
        (TORCHRUN, "auto", 4, "auto", None, "num_nodes 4, but torchrun runs on 2 nodes: use torchrun --nnodes=4"),
        (TORCHRUN, "auto", 1, "ddp_spawn", None, "ddp_spawn starts processes itself, beside those of torchrun"),
        (SRUN, "auto", 1, "auto", 1, "each sees 1 GPU and .*--gpus-per-node=4, not --gpus-per-task or --gpu-bind"),
        (TORCHRUN, "auto", 1, "auto", 2, "started 4 processes per node, but each sees 2 GPUs and .*--nproc-per-node=2"),
        (ALONE, 2, 2, "auto", None, "num_nodes 2, but nothing started this on other nodes; use torchrun --nnodes=2 or srun"),
    ],
)
def test_contradictions(
    launch: LaunchInfo,
    devices: object,
    num_nodes: int,
    strategy: str,
    gpus: int | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=message) as refused:
        resolve_devices(launch, devices, num_nodes, strategy, gpus)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("batch", "processes", "papers", "line"),
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
def test_the_effective_batch_beside_the_papers(batch: int, processes: int, papers: int, line: str) -> None:
    assert re.fullmatch(line, describe_batch_size(batch, processes, papers))


def test_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_strategy_that_was_asked_for_is_not_explained_away() -> None:
    asked = describe_strategy(4, "ddp_find_unused_parameters_true", (Stage("all"),), has_discriminator=False)
    assert asked == "ddp_find_unused_parameters_true, as requested"
    assert describe_strategy(4, "auto", (Stage("all"),), has_discriminator=False).startswith("ddp, plain")
