"""`last.ckpt` to go on from and `best.ckpt` to use; never truncated, never stale, never a second name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so a reader (or a kill) never meets half a file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path` whole, or leave `path` as it was."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        try:
            super().save_checkpoint(checkpoint, part, storage_options)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


class RunCheckpoint(Checkpoint):
    """Saves `last.ckpt` every so many batches, around each validation and on demand, and `best.ckpt` by one logged value.

    A checkpoint written just before a validation says that the validation is still due, so a run killed in the middle of it
    measures again on resuming, as if nothing had happened.

    Args:
        folder: where both files live.
        every_n_steps: batches between two saves of `last.ckpt`.
        monitor: the value that `best.ckpt` maximises, as logged by a callback before this one.
    """

    def __init__(self, folder: Path, every_n_steps: int = 500, monitor: str = "val/psnr") -> None:
        self.last = folder / "last.ckpt"
        self.best = folder / "best.ckpt"
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.best_value: float | None = None
        self.best_step: int | None = None
        self._validation_due = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save when it is time, and before a validation."""
        # A private name of Lightning 2.6; the resume tests fail if it goes or changes.
        epoch_loop = trainer.fit_loop.epoch_loop
        data_fetcher = trainer.fit_loop._data_fetcher
        self._validation_due = data_fetcher is not None and epoch_loop._should_check_val_fx(data_fetcher)
        if self._validation_due or trainer.global_step % self.every_n_steps == 0:
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the best, then the last: a kill in between repeats the validation and decides the same."""
        if trainer.sanity_checking or not trainer.training and not trainer.fit_loop.epoch_loop.val_loop:
            return
        self._validation_due = False
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and (self.best_value is None or float(value) > self.best_value):
            self.best_value, self.best_step = float(value), trainer.global_step
            trainer.save_checkpoint(self.best)
            if trainer.is_global_zero:
                _duplicate(self.best, self.last)
        else:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end of a run is always saved."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write `last.ckpt` now."""
        trainer.save_checkpoint(self.last)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Mark a validation that is still due, in Lightning's own terms for "stopped in the middle of validation"."""
        if not self._validation_due:
            return
        loops = checkpoint["loops"]["fit_loop"]
        progress = loops["epoch_loop.val_loop.batch_progress"]
        loops["epoch_loop.val_loop.batch_progress"] = {
            **progress,
            "total": {"ready": 1, "completed": 0, "started": 1, "processed": 0},
            "current": {"ready": 0, "completed": 0, "started": 0, "processed": 0},
            "is_last_batch": False,
        }

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {"best_value": self.best_value, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with the best so far."""
        self.best_value, self.best_step = state_dict["best_value"], state_dict["best_step"]


def _duplicate(source: Path, target: Path) -> None:
    """A second name for the same bytes where the file system has hard links, a copy elsewhere; atomic either way."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
    part.replace(target)
