"""PSNR, SSIM and L1 of the composites over the validation set, for each range of damage."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_inpaint.callbacks.training_log import log
from lit_inpaint.metrics import LPI, BucketedMeans, Protocol, score


class ValidationMetrics(Callback):
    """Logs `val/<measure>` over all samples and `val/<bucket>/<measure>` at every validation.

    Counts each sample once, whatever the number of processes: the loaders do not pad, and the means are of sums over all ranks.

    Args:
        protocol: what is measured, and how.
    """

    def __init__(self, protocol: Protocol = LPI) -> None:
        self.protocol = protocol
        self.tally = BucketedMeans(protocol)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting on the model's device; the tally is the callback's, so no checkpoint, EMA or DDP sees it."""
        self.tally = self.tally.to(pl_module.device)
        self.tally.reset()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Take in a batch."""
        scores = score(self.protocol, batch["image"], outputs["image"], batch["mask"])
        self.tally.update(scores, batch["mask"].mean(dim=(1, 2, 3)))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means; `trainer.callback_metrics` gets them too, for whoever monitors one."""
        values = {}
        for (bucket, measure), mean in self.tally.compute().items():
            if mean.value is not None:
                values[f"val/{measure}" if bucket == "all" else f"val/{bucket}/{measure}"] = mean.value
        log(trainer, values)
        for name, value in values.items():
            pl_module.log(name, value, logger=False, batch_size=1)
        summary = ", ".join(
            f"{measure.name.upper()} {values[f'val/{measure.name}']:.3f}{measure.unit and ' ' + measure.unit}"
            for measure in self.protocol.metrics
            if f"val/{measure.name}" in values
        )
        if trainer.is_global_zero:  # `print` by itself goes by the local rank: a line for each node
            trainer.print(f"step {trainer.global_step}: {summary} (validation composites)")
