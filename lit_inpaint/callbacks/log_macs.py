"""What the network costs, beside what it achieves."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_inpaint.callbacks.training_log import log


class LogMACs(Callback):
    """Logs `cost/parameters` and `cost/macs` of the generator once, so that runs can be drawn by their cost.

    With the first batch learnt from, not before: until then a run may be refused, and leaves nothing behind.

    Args:
        parameters: numbers that are learnt.
        macs: for one image of the size that the run trains on.
    """

    def __init__(self, parameters: int, macs: int) -> None:
        self.values = {"cost/parameters": float(parameters), "cost/macs": float(macs)}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A run that goes on has said so before."""
        if trainer.global_step == 1:
            log(trainer, self.values)
