"""What Lightning is told about processes that srun started."""

from __future__ import annotations

import os
import zlib

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment


class SrunEnvironment(ClusterEnvironment):
    """The step of `srun`, as its own variables describe it; unlike Lightning's class, nothing here handles signals or requeues.

    Lightning's class goes by the variables of the whole job, refuses `srun -n`, and gives all steps of a job the same port.
    MASTER_ADDR and MASTER_PORT, where they are set, win.
    """

    @property
    def creates_processes_externally(self) -> bool:
        """Always."""
        return True

    @property
    def main_address(self) -> str:
        """The step's first node."""
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "127.0.0.1")
        return os.environ.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))

    @property
    def main_port(self) -> int:
        """Between 15,000 and 31,999, below what systems give out by themselves; the same in all tasks of a step."""
        start = [os.environ.get(f"SLURM_{name}", "0") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT")]
        return int(os.environ.setdefault("MASTER_PORT", str(15_000 + zlib.crc32("-".join(start).encode()) % 17_000)))

    @staticmethod
    def detect() -> bool:
        """`find_launch` decides."""
        return "SLURM_STEP_ID" in os.environ

    def world_size(self) -> int:
        """Tasks of the step."""
        return int(os.environ["SLURM_STEP_NUM_TASKS"])

    def set_world_size(self, size: int) -> None:
        """Srun decided."""

    def global_rank(self) -> int:
        """This task among all."""
        return int(os.environ["SLURM_PROCID"])

    def set_global_rank(self, rank: int) -> None:
        """Srun decided."""

    def local_rank(self) -> int:
        """This task on its node."""
        return int(os.environ["SLURM_LOCALID"])

    def node_rank(self) -> int:
        """The node in the step."""
        return int(os.environ["SLURM_NODEID"])
