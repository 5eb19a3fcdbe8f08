"""Join the processes that torchrun or srun started for an evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torchmetrics.utilities.prints import rank_zero_only

from lit_inpaint.cluster.launch_info import LaunchInfo, find_launch
from lit_inpaint.cluster.slurm_cluster_environment import SrunEnvironment
from lit_inpaint.evaluation.shards import Shard


@contextmanager
def joined_processes() -> Iterator[Shard]:
    """Join the processes of torchrun or srun for the block; without them, yield the one part with all samples.

    Raises:
        UserError: the launcher started unequal numbers of processes per node.
    """
    launch = _find_launch()
    cuda = torch.cuda.is_available()
    if launch is None or launch.processes == 1:
        yield Shard(device=torch.device("cuda" if cuda else "cpu"))
        return
    local = int(os.environ["LOCAL_RANK" if launch.launcher == "torchrun" else "SLURM_LOCALID"])
    device = torch.device("cuda", local % torch.cuda.device_count()) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if launch.launcher == "srun":
        step = SrunEnvironment()
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = step.main_address, str(step.main_port)
    setattr(rank_zero_only, "rank", launch.rank)  # noqa: B010  of torchmetrics' warnings, which else come from every node
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        rank=launch.rank,
        world_size=launch.processes,
        timeout=timedelta(days=1),  # the first process may have more to do
    )
    try:
        yield Shard(launch.rank, launch.processes, device)
    finally:
        distributed.destroy_process_group()


def _find_launch() -> LaunchInfo | None:
    """The launcher of several processes; a command in a job without srun is one process."""
    return find_launch() if {"TORCHELASTIC_RUN_ID", "SLURM_STEP_ID"} & os.environ.keys() else None
