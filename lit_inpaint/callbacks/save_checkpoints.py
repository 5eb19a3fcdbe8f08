"""`last.ckpt` to go on from and `best.ckpt` to use; never truncated, never stale, never a second name."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lit_inpaint.errors import UserError
from lit_inpaint.storage.atomic_write import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so a reader (or a kill) never meets half a file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path` whole, or leave `path` as it was."""
        target = Path(path)
        with atomic_write(target) as part:
            super().save_checkpoint(checkpoint, part, storage_options)
            with part.open("rb+") as file:
                os.fsync(file.fileno())


class RunCheckpoint(Checkpoint):
    """Saves `last.ckpt` every so many batches, around each validation and on demand, and `best.ckpt` by one logged value.

    A checkpoint written just before a validation says that the validation is still due, so a run killed in the middle of it
    measures again on resuming, as if nothing had happened.

    Args:
        folder: where both files live.
        every_n_steps: batches between two saves of `last.ckpt`.
        monitor: the value that `best.ckpt` maximises, as logged by a callback before this one.

    Attributes:
        validation_due: the newest `last.ckpt` was written when a validation was to follow that has not ended yet.

    Raises:
        UserError: `every_n_steps` is below 1.
    """

    def __init__(self, folder: Path, every_n_steps: int = 500, monitor: str = "val/psnr") -> None:
        if every_n_steps < 1:
            raise UserError(f"checkpoint_every is {every_n_steps}, it must be at least 1")
        self.last = folder / "last.ckpt"
        self.best = folder / "best.ckpt"
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.validation_due = False
        self._saved_step: int | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time, before a validation, and at the last step."""
        step = trainer.global_step
        if _validates_now(trainer) or step % self.every_n_steps == 0 or step == trainer.max_steps:
            self.save_batch(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the best, then the last: a kill in between repeats the validation and decides the same."""
        if trainer.sanity_checking:
            return
        self.validation_due = False
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if not math.isnan(value) and (self.best_value is None or value > self.best_value):
            self.best_value, self.best_step = value, trainer.global_step
            self._save(trainer, self.best)
            if trainer.is_global_zero:
                _duplicate(self.best, self.last)
        else:
            self._save(trainer, self.last)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end of a run is always saved."""
        if self._saved_step != trainer.global_step:
            self._save(trainer, self.last)

    def save_batch(self, trainer: Trainer) -> None:
        """Write `last.ckpt` at the end of a batch, before the validation that may be due."""
        if self._saved_step != trainer.global_step:
            self.validation_due = _validates_now(trainer)
            self._save(trainer, self.last)

    def _save(self, trainer: Trainer, path: Path) -> None:
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_step = trainer.global_step

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Mark a validation that is still due, in Lightning's own terms for "stopped in the middle of validation"."""
        if not self.validation_due:
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
        """The best so far, and whether a validation was to follow."""
        return {"best_value": self.best_value, "best_step": self.best_step, "validation_due": self.validation_due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with the best so far."""
        self.best_value, self.best_step = state_dict["best_value"], state_dict["best_step"]
        self.validation_due = state_dict.get("validation_due", False)


def _validates_now(trainer: Trainer) -> bool:
    """Whether Lightning will validate after the batch in hand; private names of 2.6, the resume tests fail if they change."""
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def _duplicate(source: Path, target: Path) -> None:
    """A second name for the same bytes where the file system has hard links, a copy elsewhere; atomic either way."""
    with atomic_write(target) as part:
        part.unlink(missing_ok=True)
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
