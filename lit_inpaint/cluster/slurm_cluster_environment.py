"""Lightning ClusterEnvironment for processes that srun started."""

from __future__ import annotations

import os
import zlib

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from lit_inpaint.cluster.launch_info import LaunchInfo


def cluster_environments(launch: LaunchInfo) -> list[ClusterEnvironment]:
    """Return the plugin for the Trainer; empty where Lightning's own detection is right.

    In a SLURM job Lightning would take one process for one of many, and requeue the job itself.
    """
    if launch.launcher == "srun":
        return [SrunEnvironment()]
    return [LightningEnvironment()] if launch.launcher == "Lightning" and "SLURM_JOB_ID" in os.environ else []


class SrunEnvironment(ClusterEnvironment):
    """Describes an srun step by the step's own variables; unlike Lightning's class it neither handles signals nor requeues.

    Lightning's class reads the variables of the whole job, rejects `srun -n`, and gives all steps of a job the same port.
    MASTER_ADDR and MASTER_PORT take precedence where they are set.
    """

    @property
    def creates_processes_externally(self) -> bool:
        """Always true."""
        return True

    @property
    def main_address(self) -> str:
        """The step's first node."""
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "127.0.0.1")
        return os.environ.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))

    @property
    def main_port(self) -> int:
        """Port from 15,000 to 31,999, below the ephemeral range; the same in all tasks of a step."""
        start = [os.environ.get(f"SLURM_{name}", "0") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT")]
        return int(os.environ.setdefault("MASTER_PORT", str(15_000 + zlib.crc32("-".join(start).encode()) % 17_000)))

    @staticmethod
    def detect() -> bool:
        """Return whether this is an srun step; `find_launch` decides whether the run uses it."""
        return "SLURM_STEP_ID" in os.environ

    def world_size(self) -> int:
        """Return the number of tasks of the step."""
        return int(os.environ["SLURM_STEP_NUM_TASKS"])

    def set_world_size(self, size: int) -> None:
        """Do nothing: srun sets it."""

    def global_rank(self) -> int:
        """Return the task's index among all."""
        return int(os.environ["SLURM_PROCID"])

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: srun sets it."""

    def local_rank(self) -> int:
        """Return the task's index on its node."""
        return int(os.environ["SLURM_LOCALID"])

    def node_rank(self) -> int:
        """Return the node's index in the step."""
        return int(os.environ["SLURM_NODEID"])
