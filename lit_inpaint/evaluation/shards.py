"""Share the samples of an evaluation among processes, and collect the scores in all of them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import distributed

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
