"""SIGTERM and SIGINT (Ctrl-C): finish the batch, save, leave."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_inpaint.callbacks.checkpoints import RunCheckpoint


class Interruption(Callback):
    """On SIGTERM or SIGINT the batch in hand ends, `last.ckpt` is written and the process exits with 128 + the signal's number.

    Nothing is saved inside the signal handler, which could catch an optimizer in the middle of its step. In a validation the
    checkpoint written just before it serves, and the validation runs again on resuming; only a validation on several processes
    is run to its end first, since there no process may wait for the others.

    A signal often reaches the loader's worker processes too (Ctrl-C in a terminal, Slurm) and ends them. That is no error then.

    Args:
        checkpoint: who saves.
    """

    def __init__(self, checkpoint: RunCheckpoint) -> None:
        self.checkpoint = checkpoint
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Around `trainer.fit`: listen from before the loader's workers start, who inherit it, and give the signals back."""
        self._listen()
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep Lightning's own handler from doing anything in the time between its installation and `on_train_start`.

        It sends the signal on to the processes that may have it already, and makes them talk to each other in the middle of
        whatever they were telling each other. A private name of Lightning 2.6; the tests with two processes fail if it changes.
        """
        setattr(trainer._signal_connector, "_sigterm_notifier_fn", lambda *_: None)  # noqa: B010  mypy forbids the plain one

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM over again from Lightning's own handler."""
        if self.received is None:
            self._listen()

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
        if number is not None:
            self._leave(trainer, number)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Leave at once, if asked to: `last.ckpt` is as new as the weights."""
        if self.received is not None and trainer.world_size == 1:
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
        """The signal that this process got, or any other of them."""
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            return self.received or signal.SIGTERM
        return None

    def _listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handle(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._handle(number, signal.SIG_DFL)  # a second one means now
        self._handle(signal.SIGCHLD, lambda *_: None)  # torch would raise for an ended worker, in the middle of a step

    def _handle(self, number: int, handler: Any) -> None:
        self._before.setdefault(number, signal.signal(number, handler))

    def _leave(self, trainer: Trainer, number: int, saved: bool = True) -> NoReturn:
        if saved:
            news = f"saved {self.checkpoint.last} at step {trainer.global_step}; the same command goes on from there"
        else:
            news = f"left at step {trainer.global_step}; the same command goes on from the last save, {self.checkpoint.last}"
        rank_zero_info(f"\n{signal.Signals(number).name}: {news}")
        raise SystemExit(128 + number)
