"""Reduce a number of each batch over all processes, and read it some batches later, so that no device waits for the host.

A value that is read at once makes the host wait until a GPU has finished the batch. The GPU then idles until the host has
started the next one. Two batches later the value has been computed, and the GPU has further batches to work on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

import torch
from lightning.pytorch import Trainer
from torch import Tensor

DELAY_ON_GPU = 2
"""Batches between computing and reading a number on a GPU. On CPUs numbers are read at once."""

Content = TypeVar("Content")


class _Pending(NamedTuple, Generic[Content]):
    step: int
    value: Tensor  # on the host, valid once `copied` is over
    copied: torch.cuda.Event | None
    content: Content


class DelayedMax(Generic[Content]):
    """The max over all processes of one number per batch; all processes read it at the same batch.

    Args:
        delay: batches between `add` and `due`; None: `DELAY_ON_GPU` on GPUs, else 0.
    """

    def __init__(self, delay: int | None = None) -> None:
        self.delay = delay
        self._pending: deque[_Pending[Content]] = deque()

    def add(self, trainer: Trainer, value: Tensor, content: Content) -> None:
        """Reduce the number of the batch that ended with `trainer.global_step`; every process must call this.

        Args:
            trainer: of the run.
            value: integer scalar on the device of the run; overwritten.
            content: returned beside the result.
        """
        if trainer.world_size > 1:
            torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)  # on GPUs: no wait for the result
        copied = None
        if value.device.type == "cuda":
            value = torch.empty((), dtype=value.dtype, pin_memory=True).copy_(value, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        self._pending.append(_Pending(trainer.global_step, value, copied, content))

    def due(self, trainer: Trainer) -> Iterator[tuple[int, int, Content]]:
        """Yield step, max and content of the batches that are to be read at `trainer.global_step`, the oldest first."""
        delay = self.delay
        if delay is None:
            delay = 0 if trainer.strategy.root_device.type == "cpu" else DELAY_ON_GPU
        while self._pending and self._pending[0].step <= trainer.global_step - delay:
            yield self._read()

    def rest(self) -> Iterator[tuple[int, int, Content]]:
        """Yield all batches that were not read yet, the oldest first; this waits for the device."""
        while self._pending:
            yield self._read()

    def clear(self) -> None:
        """Drop all batches."""
        self._pending.clear()

    def _read(self) -> tuple[int, int, Content]:
        step, value, copied, content = self._pending.popleft()
        if copied is not None:
            copied.synchronize()
        return step, int(value), content
