"""Losses, learning rates and speed of training, to every logger, at the step they belong to."""

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
    """Writes the losses, the scheduled numbers, the stage and the speed every `trainer.log_every_n_steps` batches.

    `train/<term>` and `train/<player>` are the losses of the batch that the step ended with, over all processes; `train/d_real`
    and `train/d_fake` the discriminator's mean score of real and of completed images, where the paper says so (see
    `Inpainter.record_logits`); `train/mask_ratio` is the mean mask ratio of its images, in [0, 1].
    `train/lr_<player>` and `train/weight_<term>` are the schedules' values *at* the step, with which training goes on: at step
    k, what the formula says for k. `train/stage` is the name of the stage that the batch belonged to.

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
        model, step = cast(Inpainter, pl_module), trainer.global_step
        of_batch = {**outputs, **model.mean_logits, "mask_ratio": batch["mask"].mean()}
        numbers = torch.stack([value.float() for value in of_batch.values()])
        means = cast(Tensor, trainer.strategy.reduce(numbers, reduce_op="mean")).tolist()
        values: dict[str, float | str] = {f"train/{name}": mean for name, mean in zip(of_batch, means, strict=True)}
        values |= {f"train/{name}": value for name, value in model.scheduled_values(step).items()}
        values["train/stage"] = model.stage_name(step - 1)
        if self._since is not None:
            values["train/images_per_second"] = self._images / (time.perf_counter() - self._since)
        self._since, self._images = None, 0
        log(trainer, values)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation does not count as training time."""
        self._since, self._images = None, 0


def log(trainer: Trainer, values: Mapping[str, float | str]) -> None:
    """Write `values` to every logger at the current step; on rank 0 only, as the loggers see to."""
    numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
    for logger in trainer.loggers:
        words = isinstance(logger, CSVLogger | WandbLogger)  # others would try to draw them
        logger.log_metrics(cast(Any, dict(values if words else numbers)), step=trainer.global_step)
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            for name, value in values.items():
                if isinstance(value, str):
                    logger.experiment.add_text(name, value, trainer.global_step)


def stage_name(trainer: Trainer, module: LightningModule) -> str:
    """The name of the stage the next batch belongs to."""
    return cast(Inpainter, module).stage_name(trainer.global_step)
