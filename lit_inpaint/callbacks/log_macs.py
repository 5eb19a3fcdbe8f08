"""Log the generator's number of parameters and MACs once per run."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_inpaint.callbacks.training_log import log


class LogMACs(Callback):
    """Logs `cost/parameters` and `cost/macs` at the first step, so that dashboards can plot metrics over cost.

    Not earlier: a run that fails before its first step leaves no log behind.

    Args:
        parameters: number of trainable parameters.
        macs: for one image of the training size.
    """

    def __init__(self, parameters: int, macs: int) -> None:
        self.values = {"cost/parameters": float(parameters), "cost/macs": float(macs)}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log at step 1; a resumed run has logged already."""
        if trainer.global_step == 1:
            log(trainer, self.values)
