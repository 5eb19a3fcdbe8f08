"""SIGUSR1, SIGTERM and SIGINT (Ctrl-C): finish the batch, save, leave."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_inpaint.callbacks.save_checkpoints import RunCheckpoint
from lit_inpaint.cluster.signal_handlers import GracefulExit, Signals

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What asks a run to stop; SLURM sends SIGUSR1 before the time limit where `sbatch --signal=USR1@120` says so."""


class GracefulShutdown(Callback):
    """On a signal the batch in hand ends, `last.ckpt` is written and the process exits with 128 + the signal's number.

    Nothing is saved inside the signal handler, which could catch an optimizer in the middle of its step. In a validation the
    checkpoint written just before it serves, and the validation runs again on resuming; only a validation on several processes
    is run to its end first, since there no process may wait for the others, unless SLURM ends the others in any case.
    After the last batch and its validation SIGUSR1 changes nothing: the run is about to end by itself.

    A signal often reaches the loader's worker processes too (Ctrl-C in a terminal, Slurm) and ends them. That is no error then.

    Args:
        checkpoint: who saves.
        signals: what came so far, and will come.
        requeued: whether a job comes back by itself, and ends the other processes for that.
    """

    def __init__(self, checkpoint: RunCheckpoint, signals: Signals | None = None, requeued: bool = False) -> None:
        self.checkpoint = checkpoint
        self.signals = signals or Signals()
        self.requeued = requeued

    @property
    def received(self) -> int | None:
        """The signal that came."""
        return self.signals.received

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Around `trainer.fit`: listen from before the loader's workers start, who inherit it, and give the signals back."""
        with self.signals.handling(*STOP):
            yield

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep Lightning's own handler from doing anything in the time between its installation and `on_train_start`.

        It sends the signal on to the processes that may have it already, and makes them talk to each other in the middle of
        whatever they were telling each other. A private name of Lightning 2.6; the tests with two processes fail if it changes.
        """
        setattr(trainer._signal_connector, "_sigterm_notifier_fn", lambda *_: None)  # noqa: B010  mypy forbids the plain one

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM over again from Lightning's own handler."""
        self.signals.listen(*STOP)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and leave, if asked to."""
        number = self._agreed(trainer)
        if number is not None:
            self.checkpoint.save_batch(trainer)
            self._leave(trainer, number)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave after the last validation, if asked to in it: everything is saved."""
        number = self._agreed(trainer)
        if number is not None and number != signal.SIGUSR1:
            self._leave(trainer, number, complete=True)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Leave at once, if asked to: `last.ckpt` is as new as the weights."""
        if self.received is not None and (trainer.world_size == 1 or (self.requeued and trainer.is_global_zero)):
            self._leave(trainer, self.received)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Waiting for a batch from workers that the signal ended: the batch before it is complete.

        Of several processes one can wait so while the others, in the next batch already, wait for it in vain. None can save
        then, since that takes all of them.
        """
        batches = trainer.fit_loop.epoch_loop.batch_progress.current
        if self.received is None or not isinstance(exception, RuntimeError):
            return
        if trainer.world_size > 1:
            self._leave(trainer, self.received, saved=False)
        if batches.ready == batches.completed:
            if not trainer.validating:
                self.checkpoint.save_batch(trainer)
            self._leave(trainer, self.received)

    def _agreed(self, trainer: Trainer) -> int | None:
        """The signal that this process got, or any other of them; of several the same one everywhere."""
        if not trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            return None
        number = torch.tensor(self.received or 0, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(number, reduce_op="max"))

    def _leave(self, trainer: Trainer, number: int, saved: bool = True, complete: bool = False) -> NoReturn:
        if saved:
            news = f"saved {self.checkpoint.last} at step {trainer.global_step}; the same command goes on from there"
        else:
            news = f"left at step {trainer.global_step}; the same command goes on from the last save, {self.checkpoint.last}"
        rank_zero_info(f"\n{signal.Signals(number).name}: {news}")
        raise GracefulExit(number, complete)
