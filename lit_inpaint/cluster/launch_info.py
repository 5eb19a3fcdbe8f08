"""Find out from the environment which launcher started this process: Lightning, torchrun or srun.

A run has one process per device. Lightning starts them itself on one machine; `torchrun` and `srun` start them on one or
several. Nothing here waits for another process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lit_inpaint.cluster.slurm_job import is_interactive
from lit_inpaint.errors import UserError


@dataclass(frozen=True)
class LaunchInfo:
    """Position of this process among those of the run.

    Attributes:
        launcher: what started the processes; "Lightning" starts the others later, from the first one.
        rank: index among all processes; under "Lightning", among those of this node.
        node: index of the node.
        nodes: number of nodes.
        per_node: processes on each node, None where the Trainer's arguments decide.
        key: identifies this launch, so that no process takes a file or message of an earlier launch for its own.
    """

    launcher: Literal["Lightning", "torchrun", "srun"]
    rank: int = 0
    node: int = 0
    nodes: int = 1
    per_node: int | None = None
    key: str = ""

    @property
    def external(self) -> bool:
        """Whether an external launcher has started all processes already."""
        return self.launcher != "Lightning"

    @property
    def is_global_zero(self) -> bool:
        """Whether this process chooses the run directory, writes and prints."""
        return self.rank == self.node == 0

    @property
    def processes(self) -> int:
        """Number of processes, as far as the launcher decides it."""
        return self.nodes * (self.per_node or 1)


def find_launch(environment: Mapping[str, str] = os.environ) -> LaunchInfo:
    """Read the launcher and this process's position from the environment.

    Raises:
        UserError: two launchers at once, a SLURM job of several tasks without srun, or unequal numbers of processes per node.
    """
    in_step = "SLURM_STEP_ID" in environment and not is_interactive(environment)
    if "TORCHELASTIC_RUN_ID" in environment:
        launch = _torchrun(environment)
        tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1")) if in_step else launch.nodes
        if tasks != launch.nodes:
            raise UserError(
                f"srun started torchrun {tasks} times, but torchrun runs on {launch.nodes} node{'s' * (launch.nodes > 1)}; use "
                f"one launcher: srun --ntasks-per-node=1 torchrun --nnodes=NODES …, or srun python -m lit_inpaint.fit …"
            )
        return launch
    if in_step:
        return _srun(environment)
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    if tasks > 1 and not is_interactive(environment):
        raise UserError(
            f"this SLURM job has {tasks} tasks, but was started without srun, which would start them: put srun before "
            "python -m lit_inpaint.fit, or request --ntasks=1"
        )
    node = int(environment.get("NODE_RANK", "0"))
    return LaunchInfo("Lightning", rank=int(environment.get("LOCAL_RANK", "0")), node=node)


def _torchrun(environment: Mapping[str, str]) -> LaunchInfo:
    world, local, nodes = (int(environment.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"))
    if world != local * nodes:
        raise UserError(
            f"torchrun started {world} processes on {nodes} nodes, {local} of them here; give every node the same "
            "--nproc-per-node"
        )
    names = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT", "WORLD_SIZE")
    key = "-".join(environment.get(name, "") for name in names)
    return LaunchInfo("torchrun", int(environment["RANK"]), int(environment.get("GROUP_RANK", "0")), nodes, local, key)


def _srun(environment: Mapping[str, str]) -> LaunchInfo:
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    per_node = _tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", environment["SLURM_STEP_NUM_TASKS"]))
    if len(per_node) > 1:
        raise UserError(
            f"srun started {min(per_node)} to {max(per_node)} tasks on {nodes} nodes; every node needs the same number: "
            "srun --ntasks-per-node=N, one for each GPU"
        )
    names = ("JOB_ID", "STEP_ID", "RESTART_COUNT", "SRUN_COMM_PORT", "STEP_LAUNCHER_PORT")
    key = "-".join(environment.get(f"SLURM_{name}", "") for name in names)
    return LaunchInfo("srun", int(environment["SLURM_PROCID"]), int(environment["SLURM_NODEID"]), nodes, per_node.pop(), key)


def _tasks_per_node(text: str) -> set[int]:
    """Parse SLURM's short form: `2(x3),1` means 2 tasks on each of three nodes and 1 on the fourth."""
    return {int(tasks) for tasks in re.findall(r"(\d+)(?:\(x\d+\))?", text)}
