"""Share the samples of an evaluation among the processes of torchrun or srun, and collect the scores in all of them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torchmetrics.utilities.prints import rank_zero_only

from lit_inpaint.cluster.launch_info import LaunchInfo, find_launch
from lit_inpaint.cluster.slurm_cluster_environment import SrunEnvironment
from lit_inpaint.data.inpainting_dataset import EvalDataset
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.partial_results import SampleScore

Scores = dict[str, list[SampleScore]]


@dataclass(frozen=True)
class Shard:
    """Part of the samples that one of several processes evaluates.

    Attributes:
        rank: index of this process.
        world: number of processes.
        device: of this process.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def numbers(self, dataset: Any, begin: int = 0) -> Sequence[int]:
        """Return the numbers of this process's samples from `begin` on; all samples of an image are in one process."""
        if self.world == 1:
            return range(begin, len(dataset))
        group = len(dataset.masks) if isinstance(dataset, EvalDataset) else 1
        return [number for number in range(begin, len(dataset)) if number // group % self.world == self.rank]

    def collect(self, numbers: Sequence[int], samples: Mapping[str, Sequence[SampleScore]], dataset: object) -> Scores:
        """Return the scores of all processes in the order of the samples; every process must call this.

        Args:
            numbers: of the samples that this process evaluated.
            samples: their scores by method.
            dataset: of the loader; an `EvalDataset` then knows the samples that were left out in any process.
        """
        if self.world == 1:
            return {name: list(found) for name, found in samples.items()}
        gathered: list[Any] = [None] * self.world
        distributed.all_gather_object(gathered, (list(numbers), dict(samples)))
        if isinstance(dataset, EvalDataset):
            left_out = dataset.left_out.int()
            distributed.all_reduce(left_out, distributed.ReduceOp.MAX)
            dataset.left_out.copy_(left_out.bool())
        order = sorted((number, rank, place) for rank, (found, _) in enumerate(gathered) for place, number in enumerate(found))
        return {name: [gathered[rank][1][name][place] for _, rank, place in order] for name in samples}

    @contextmanager
    def set_up(self) -> Iterator[None]:
        """Run the block in the first process, then in the others, which print nothing and leave errors to the first."""
        if self.world == 1:
            yield
            return
        if not self.is_first:
            distributed.barrier()
        try:
            with ExitStack() as quiet:
                if not self.is_first:
                    quiet.enter_context(redirect_stdout(io.StringIO()))
                    quiet.enter_context(redirect_stderr(io.StringIO()))
                yield
        except UserError:
            if self.is_first:
                raise
            raise SystemExit(2) from None
        finally:
            if self.is_first:
                distributed.barrier()


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
    rank_zero_only.rank = launch.rank  # of torchmetrics' warnings, which else come from every node
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
