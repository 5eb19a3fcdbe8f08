"""Log PSNR, SSIM and L1 of the composites at every validation, overall and per mask-ratio bucket."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_inpaint.callbacks.training_log import log
from lit_inpaint.metrics import LPI, BucketedMeans, Protocol, score


class ValidationMetrics(Callback):
    """Logs `val/<metric>` over all samples and `val/<bucket>/<metric>`, and prints the overall values.

    Each sample counts once, whatever the number of processes: the loaders do not pad, and sums are reduced over all ranks.

    Args:
        protocol: metrics and mask-ratio buckets.
    """

    def __init__(self, protocol: Protocol = LPI) -> None:
        self.protocol = protocol
        self.means = BucketedMeans(protocol)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the means, on the model's device; the callback holds them, so they are in no checkpoint, EMA or DDP."""
        self.means = self.means.to(pl_module.device)
        self.means.reset()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Update the means."""
        scores = score(self.protocol, batch["image"], outputs["image"], batch["mask"])
        self.means.update(scores, batch["mask"].mean(dim=(1, 2, 3)))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means, to `trainer.callback_metrics` too, from where `RunCheckpoint` reads its monitored value."""
        values = {}
        for (bucket, metric), mean in self.means.compute().items():
            if mean.value is not None:
                values[f"val/{metric}" if bucket == "all" else f"val/{bucket}/{metric}"] = mean.value
        log(trainer, values)
        for name, value in values.items():
            pl_module.log(name, value, logger=False, batch_size=1)
        summary = ", ".join(
            f"{metric.name.upper()} {values[f'val/{metric.name}']:.3f}{metric.unit and ' ' + metric.unit}"
            for metric in self.protocol.metrics
            if f"val/{metric.name}" in values
        )
        if trainer.is_global_zero:  # `trainer.print` alone checks the local rank: one line per node
            trainer.print(f"step {trainer.global_step}: {summary} (validation composites)")
