"""Log losses, mean logits, mask ratio, schedules, stage and speed of training to every logger."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.loggers.csv import CSVLogger


class TrainingLog(Callback):
    """Logs `train/…` every `trainer.log_every_n_steps` batches; 0 batches: never.

    - `train/<term>`, `train/<player>`: losses of the batch that the step ended with, mean over all processes.
    - `train/d_real`, `train/d_fake`: the discriminator's mean logits of real and of completed images, where the paper records
      them (see `Inpainter.record_logits`).
    - `train/mask_ratio`: fraction of hole pixels in the batch, in [0, 1].
    - `train/lr_<player>`, `train/weight_<term>`: values of the schedules *at* the step, which the next batch uses: at step k,
      the formula's value for k.
    - `train/stage`: name of the stage that the batch belonged to.
    - `train/images_per_second`: speed since the last row, without validations.

    The step is the number of trained batches, as for validation and sample grids. Lightning's own logging counts from 0, which
    puts a batch's losses one step before the weights they led to.
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
        """Log the losses that the engine returned for this batch."""
        self._images += batch["image"].shape[0] * trainer.world_size
        every = cast(Any, trainer).log_every_n_steps
        if not every or trainer.global_step % every or not isinstance(outputs, Mapping):
            return
        model, step = cast(Inpainter, pl_module), trainer.global_step
        of_batch = {**outputs, **model.mean_logits, "mask_ratio": batch["mask"].mean()}
        stacked = torch.stack([value.float() for value in of_batch.values()])
        means = cast(Tensor, trainer.strategy.reduce(stacked, reduce_op="mean")).tolist()
        values: dict[str, float | str] = {f"train/{name}": mean for name, mean in zip(of_batch, means, strict=True)}
        values |= {f"train/{name}": value for name, value in model.scheduled_values(step).items()}
        values["train/stage"] = model.stage_name(step - 1)
        if self._since is not None:
            values["train/images_per_second"] = self._images / (time.perf_counter() - self._since)
        self._since, self._images = None, 0
        log(trainer, values)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._since, self._images = None, 0


def log(trainer: Trainer, values: Mapping[str, float | str]) -> None:
    """Log `values` to every logger at the current step; the loggers write on rank 0 only. Text goes where it can be shown."""
    numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
    for logger in trainer.loggers:
        takes_text = isinstance(logger, CSVLogger | WandbLogger)
        logger.log_metrics(cast(Any, dict(values if takes_text else numbers)), step=trainer.global_step)
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            for name, value in values.items():
                if isinstance(value, str):
                    logger.experiment.add_text(name, value, trainer.global_step)
