"""Log the metrics of a protocol and the generator's losses at every validation."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_inpaint.callbacks.training_log import log
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.metrics import LPI, BucketedMeans, DistributionMetric, DistributionMetrics, Protocol, round_uint8, score
from lit_inpaint.metrics.distribution_scores import distribution_scores, plain_name
from lit_inpaint.types import composite


class ValidationMetrics(Callback):
    """Logs `val/<metric>` of composites over all samples and `val/<bucket>/<metric>`, and prints the overall values.

    With `losses` it also logs `val_loss/<term>`, and `val_loss/generator`, their weighted sum: what `train/<term>` and
    `train/generator` are for a training batch, with the weights of the last one. They are of the same networks as the metrics,
    with EMA weights where the run has them. A stage that does not train the generator has none.

    Each sample counts once, whatever the number of processes: the loaders do not pad, and sums are reduced over all ranks.

    Args:
        protocol: metrics and mask-ratio buckets.
        losses: log the losses too.
        distribution: builds metrics of all samples together, such as FID; they are logged with the number of images in their
            names, as in tables, and with the scores that the protocol combines from them. `best_metric` names both without it.
    """

    def __init__(self, protocol: Protocol = LPI, losses: bool = False, distribution: DistributionMetrics | None = None) -> None:
        self.protocol = protocol
        self.losses = losses
        self.distribution = distribution
        self._of_set: tuple[DistributionMetric, ...] = ()
        self.means = BucketedMeans(protocol)
        self._loss_sums: dict[str, tuple[Tensor, int]] = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the means, on the model's device; the callback holds them, so they are in no checkpoint, EMA or DDP."""
        self.means = self.means.to(pl_module.device)
        self.means.reset()
        self._loss_sums = {}
        if self.distribution is not None:
            self._of_set = tuple(metric.to(pl_module.device) for metric in self.distribution())
        if self.losses:
            cast(Inpainter, pl_module).measures_validation_loss = True

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Update the means."""
        scores = score(self.protocol, batch["image"], outputs["image"], batch["mask"])
        self.means.update(scores, batch["mask"].mean(dim=(1, 2, 3)))
        if self._of_set:
            images = batch["image"].float()
            completed = round_uint8(composite(images, outputs["image"].float(), batch["mask"].float()))
            for metric in self._of_set:
                metric.update(completed, round_uint8(images))
        for name, loss in cast(Inpainter, pl_module).validation_losses.items() if self.losses else ():
            number = len(batch["name"])
            total, count = self._loss_sums.get(name, (torch.zeros_like(loss, dtype=torch.float64), 0))
            self._loss_sums[name] = (total + number * loss, count + number)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means, to `trainer.callback_metrics` too, from where `RunCheckpoint` reads its monitored value."""
        values = {}
        for (bucket, metric), mean in self.means.compute().items():
            if mean.value is not None:
                values[f"val/{metric}" if bucket == "all" else f"val/{bucket}/{metric}"] = mean.value
        if self.losses:
            values |= self._mean_losses(trainer, cast(Inpainter, pl_module))
        means = {metric.name: values.get(f"val/{metric.name}", math.nan) for metric in self.protocol.metrics}
        of_set = {f"val/{one.name}": one.value for one in distribution_scores(self.protocol, self._of_set, means)}
        self._of_set = ()  # no features are kept between validations
        log(trainer, values | of_set)
        for name, value in (values | {plain_name(name): value for name, value in of_set.items()}).items():
            pl_module.log(name, value, logger=False, batch_size=1)
        summary = ", ".join(
            f"{metric.name.upper()} {values[f'val/{metric.name}']:.3f}{metric.unit and ' ' + metric.unit}"
            for metric in self.protocol.metrics
            if f"val/{metric.name}" in values
        )
        if trainer.is_global_zero:  # `trainer.print` alone checks the local rank: one line per node
            trainer.print(f"step {trainer.global_step}: {summary} (validation composites)")

    def _mean_losses(self, trainer: Trainer, model: Inpainter) -> dict[str, float]:
        """Return the means over all processes, in the order of the paper's weights."""
        names = [*(field.name for field in dataclasses.fields(cast(Any, model.weights))), "generator"]
        sums = torch.zeros(2, len(names), dtype=torch.float64, device=model.device)
        for name, (total, count) in self._loss_sums.items():
            sums[:, names.index(name)] = torch.stack([total, torch.full_like(total, count)])
        # Of all names, not of those in this process: a process without a readable sample takes part in the sum too.
        totals, counts = cast(Tensor, trainer.strategy.reduce(sums, reduce_op="sum")).tolist()
        return {f"val_loss/{name}": total / count for name, total, count in zip(names, totals, counts, strict=True) if count}
