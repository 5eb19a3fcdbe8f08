"""Losses, learning rates and speed of training, to every logger, at the step they belong to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_inpaint.engine import Inpainter


class TrainingLog(Callback):
    """Writes `train/<term>`, `train/lr_<player>` and `train/images_per_second` every `trainer.log_every_n_steps` batches.

    The step is the number of batches learnt from, which is also what validation and the sample grids use; Lightning's own
    logging counts from 0 and would put a batch's losses one step before the weights they led to. 0 batches: never.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._images = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock at the first batch and after each pause."""
        if self._since is None:
            self._since = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write what the engine returned for this batch."""
        self._images += batch["image"].shape[0] * trainer.world_size
        every = cast(Any, trainer).log_every_n_steps
        if not every or trainer.global_step % every or not isinstance(outputs, Mapping):
            return
        values = {f"train/{name}": float(value) for name, value in outputs.items()}
        for player, optimizer in zip(("generator", "discriminator"), trainer.optimizers, strict=False):
            values[f"train/lr_{player}"] = optimizer.param_groups[0]["lr"]
        if self._since is not None:
            values["train/images_per_second"] = self._images / (time.perf_counter() - self._since)
        self._since, self._images = None, 0
        log(trainer, values)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation does not count as training time."""
        self._since, self._images = None, 0


def log(trainer: Trainer, values: Mapping[str, float]) -> None:
    """Write `values` to every logger at the current step; on rank 0 only, as the loggers see to."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(values), step=trainer.global_step)


def stage_name(trainer: Trainer, module: LightningModule) -> str:
    """The name of the stage the next batch belongs to."""
    assert isinstance(module, Inpainter)
    return module.stage_name(trainer.global_step)
