"""On SIGUSR1, SIGTERM or SIGINT (Ctrl-C): finish the current batch, save a checkpoint, exit."""

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
from lit_inpaint.engine.delayed_max import DelayedMax

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that stop a run; SLURM sends SIGUSR1 before the time limit under `sbatch --signal=USR1@120`."""


class GracefulShutdown(Callback):
    """On a signal, finishes the current batch, writes `last.ckpt` and exits with 128 + the signal's number.

    The signal handler itself saves nothing, since it could interrupt an optimizer step. In a validation the run exits at once:
    the checkpoint written just before it is up to date, and the resumed run validates again. A validation on several processes
    is finished first, since no process may wait for the others there, unless SLURM ends the others in any case.
    After the last batch and its validation SIGUSR1 has no effect: the run is about to end by itself.

    Several processes act on a signal at the same batch; on GPUs two batches later, so that no batch waits for their agreement.

    A signal often reaches the loader's worker processes too (Ctrl-C in a terminal, SLURM) and ends them. That is no error then.

    Args:
        checkpoint: the callback that saves.
        signals: signals received so far, and from now on.
        requeued: whether a SLURM job is requeued, which ends the other processes.
    """

    def __init__(self, checkpoint: RunCheckpoint, signals: Signals | None = None, requeued: bool = False) -> None:
        self.checkpoint = checkpoint
        self.signals = signals or Signals()
        self.requeued = requeued
        self._numbers: DelayedMax[None] = DelayedMax()

    @property
    def received(self) -> int | None:
        """The signal that arrived."""
        return self.signals.received

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Handle the signals around `trainer.fit`, before the loader's workers start, which inherit the handlers."""
        with self.signals.handling(*STOP):
            yield

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Disable Lightning's SIGTERM handler for the time between its installation and `on_train_start`.

        It forwards the signal to processes that may have it already, and starts a collective call in the middle of another one.
        Disable as well the broadcast before each batch, for which a GPU waits, of whether that handler was called. Both are
        private names of Lightning 2.6; the tests with two processes fail if they change.
        """
        # `setattr`, because mypy forbids the plain assignment
        setattr(trainer._signal_connector, "_sigterm_notifier_fn", lambda *_: None)  # noqa: B010
        setattr(trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor", lambda: None)  # noqa: B010

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's SIGTERM handler."""
        self.signals.install(*STOP)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and exit after a signal."""
        if trainer.world_size == 1:
            numbers = [self.received or 0]
        else:
            self._add(trainer)
            numbers = [number for _, number, _ in self._numbers.due(trainer)]
        if any(numbers):
            self.checkpoint.save_batch(trainer)
            self._exit(trainer, max(numbers))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exit after a signal in the last validation; everything is saved."""
        self._add(trainer)
        number = max(number for _, number, _ in self._numbers.rest())
        if number not in (0, signal.SIGUSR1):
            self._exit(trainer, number, complete=True)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Exit at once after a signal: `last.ckpt` is up to date."""
        if self.received is not None and (trainer.world_size == 1 or (self.requeued and trainer.is_global_zero)):
            self._exit(trainer, self.received)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Exit where the loader raised because a signal ended its workers: the batch before is complete.

        Of several processes one can wait for its loader while the others, already in the next batch, wait for it in vain. None
        can save then, since saving takes all of them.
        """
        batches = trainer.fit_loop.epoch_loop.batch_progress.current
        if self.received is None or not isinstance(exception, RuntimeError):
            return
        if trainer.world_size > 1:
            self._exit(trainer, self.received, saved=False)
        if batches.ready == batches.completed:
            if not trainer.validating:
                self.checkpoint.save_batch(trainer)
            self._exit(trainer, self.received)

    def _add(self, trainer: Trainer) -> None:
        """Let all processes agree on the largest number of a signal that one of them received, 0 for none."""
        number = torch.full((), self.received or 0, dtype=torch.int32, device=trainer.strategy.root_device)
        self._numbers.add(trainer, number, None)

    def _exit(self, trainer: Trainer, number: int, saved: bool = True, complete: bool = False) -> NoReturn:
        step, last = trainer.global_step, self.checkpoint.last
        if saved:
            message = f"saved {last} at step {step}; the same command resumes from there"
        else:
            message = f"stopped at step {step}; the same command resumes from the last checkpoint, {last}"
        rank_zero_info(f"\n{signal.Signals(number).name}: {message}")
        raise GracefulExit(number, complete)
