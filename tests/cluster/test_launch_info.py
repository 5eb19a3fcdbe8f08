import pytest
from fake_slurm import step

from lit_inpaint.cluster.launch_info import find_launch
from lit_inpaint.errors import UserError


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
        # A batch script of one task, without srun, and interactive shells.
        ({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, "Lightning", 0, 0, 1, None),
        ({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, "Lightning", 0, 0, 1, None),
        (step(0, 1, 1, SLURM_JOB_NAME="bash"), "Lightning", 0, 0, 1, None),
        (step(1, 2, 1, SLURM_JOB_NAME="bash"), "srun", 1, 0, 1, 2),
    ],
)
def test_the_launcher_and_the_position(
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
def test_contradicting_launchers(variables: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_launch(variables)
