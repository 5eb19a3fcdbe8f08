"""Time of a training epoch, extrapolated from the median training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lit_inpaint.errors import UserError
from lit_inpaint.profiling.latency import Timing, benchmark_train_step
from lit_inpaint.profiling.networks import Network, build_for_training
from lit_inpaint.published import PublishedTable, tables


class Epoch(NamedTuple):
    """A training epoch: number of images, their side in pixels, images in a step."""

    images: int
    size: int
    batch: int

    @property
    def steps(self) -> int:
        """Whole batches, at least one."""
        return max(1, self.images // self.batch)


def published_epoch_table() -> PublishedTable:
    """The published table with seconds of an epoch."""
    return next(table for table in tables() if table.training is not None)


def choose_epoch(images: int | None, size: int | None, batch: int | None) -> Epoch:
    """The given values, and for None those of the published table."""
    published = published_epoch_table().training or {}
    return Epoch(images or published["images"], size or published["size"], batch or published["batch"])


def benchmark_epochs(
    networks: Sequence[Network], epoch: Epoch, runs: int, seconds: float, device: torch.device
) -> tuple[list[Timing | None], list[str]]:
    """Time a training step of each network.

    Args:
        networks: their models are not trained, but for those from checkpoints.
        epoch: size and number of images.
        runs: see `benchmark_train_step`.
        seconds: see `benchmark_train_step`.
        device: of the training.

    Returns:
        The timing of each network, None where it cannot be trained; and a line for each reason.
    """
    steps: list[Timing | None] = []
    failures: dict[str, list[str]] = {}
    for network in networks:
        step = None
        try:
            model = build_for_training(network, epoch.size)
            step = benchmark_train_step(model, epoch.size, epoch.batch, epoch.steps, runs, seconds, device)
        except torch.OutOfMemoryError:
            failures.setdefault("out of memory; give a smaller --epoch_batch", []).append(network.label)
        except UserError as error:
            failures.setdefault(str(error), []).append(network.label)
        steps.append(step)
    return steps, [f"an epoch of {', '.join(labels)}: {reason}" for reason, labels in failures.items()]
