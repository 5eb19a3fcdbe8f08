"""SIGTERM and SIGINT (Ctrl-C): finish the batch, save, leave."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_inpaint.callbacks.checkpoints import RunCheckpoint


class Interruption(Callback):
    """On SIGTERM or SIGINT the batch in hand ends, `last.ckpt` is written and the process exits with 128 + the signal's number.

    Nothing is saved inside the signal handler, which could catch an optimizer in the middle of its step. In a validation the
    checkpoint written just before it serves, and the validation runs again on resuming.

    Args:
        checkpoint: who saves.
    """

    def __init__(self, checkpoint: RunCheckpoint) -> None:
        self.checkpoint = checkpoint
        self.received: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the two signals over from Lightning, which puts the original handlers back at its end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save and leave, if asked to."""
        self._leave(trainer, save=True)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Leave at once, if asked to: `last.ckpt` is as new as the weights."""
        self._leave(trainer, save=False)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(number, signal.SIG_DFL)  # a second one means now

    def _leave(self, trainer: Trainer, save: bool) -> None:
        number = self.received
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(number is not None, all=False):
            number = number or signal.SIGTERM  # another rank got it
        if number is None:
            return
        if save:
            self.checkpoint.save(trainer)
        rank_zero_info(
            f"\n{signal.Signals(number).name}: saved {self.checkpoint.last} at step {trainer.global_step}; "
            "the same command goes on from there"
        )
        raise SystemExit(128 + number)
