"""Count what makes the host wait for a GPU: values read from tensors, tensors of Python numbers, collective calls."""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback
from torch.utils._python_dispatch import TorchDispatchMode

TO_HOST = ("cpu", "numpy", "tolist")
COLLECTIVES = ("all_reduce", "broadcast", "barrier", "all_gather", "all_gather_object", "broadcast_object_list", "reduce")
PACKAGE = f"{os.sep}lit_inpaint{os.sep}"


class _Scalars(TorchDispatchMode):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.lift_fresh.default):
            _count(self.found)
        return func(*args, **(kwargs or {}))


def _count(found: Counter[str]) -> None:
    """Count the innermost line of the package; an optimizer's step counter is on the host in any case."""
    frames = traceback.extract_stack()
    if not any("torch/optim/" in frame.filename for frame in frames):
        ours = next((frame for frame in reversed(frames) if PACKAGE in frame.filename), frames[-3])
        found[f"{ours.filename.rpartition(PACKAGE)[2]} {ours.name}"] += 1


@contextmanager
def count_host_reads(found: Counter[str]) -> Iterator[None]:
    """Count what waits for a device, by file and function, into `found`.

    These are values read from tensors by `float`, `.item()`, `.cpu()` and the like, and new tensors of Python numbers, also in
    an index, which are copied to the device.
    """

    def spy(original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            _count(found)
            return original(*args, **kwargs)

        return counted

    with ExitStack() as stack:
        for name in TO_HOST:
            stack.enter_context(mock.patch.object(torch.Tensor, name, spy(getattr(torch.Tensor, name))))
        stack.enter_context(_Scalars(found))
        yield


@contextmanager
def count_collectives(found: Counter[str]) -> Iterator[None]:
    """Count the collective calls of `torch.distributed` by name into `found`; DDP's own are not made in Python."""

    def spy(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            found[name] += 1
            return original(*args, **kwargs)

        return counted

    with ExitStack() as stack:
        for name in COLLECTIVES:
            stack.enter_context(mock.patch(f"torch.distributed.{name}", spy(name, getattr(torch.distributed, name))))
        yield


class CountInBatches(Callback):
    """Counts in the batches `first` to `last` (not included) of a run; give it before all other callbacks."""

    def __init__(self, count: Callable[[Counter[str]], Any], first: int = 3, last: int = 6) -> None:
        self.count, self.first, self.last = count, first, last
        self.found: Counter[str] = Counter()
        self._stack = ExitStack()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.first:
            self._stack.enter_context(self.count(self.found))
        elif trainer.global_step == self.last:
            self._stack.close()
