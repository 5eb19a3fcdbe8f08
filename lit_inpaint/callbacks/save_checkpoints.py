"""Save `last.ckpt`, to resume from, and `best.ckpt`, atomically."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.storage.atomic_write import atomic_write

Mode = Literal["max", "min"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file and renames it, so that neither a reader nor a kill finds a truncated checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path` completely, or leave `path` unchanged."""
        target = Path(path)
        with atomic_write(target) as part:
            super().save_checkpoint(checkpoint, part, storage_options)
            with part.open("rb+") as file:
                os.fsync(file.fileno())


class RunCheckpoint(Checkpoint):
    """Saves `last.ckpt` every few batches, around each validation and on demand, and `best.ckpt` by one logged value.

    A checkpoint written just before a validation marks it as due. A run killed during the validation repeats it on resuming
    and equals the uninterrupted run.

    Args:
        folder: for both files.
        every_n_steps: batches between two saves of `last.ckpt`.
        monitor: logged value that chooses `best.ckpt`; a callback before this one must log it.
        mode: whether the max or the min of `monitor` is the best.

    Attributes:
        validation_due: whether a validation that was due at the newest `last.ckpt` has not ended yet.
        best_value: best monitored value so far, None before the first validation.
        best_step: step of `best.ckpt`.

    Raises:
        UserError: `every_n_steps` is below 1.
    """

    def __init__(self, folder: Path, every_n_steps: int = 500, monitor: str = "val/psnr", mode: Mode = "max") -> None:
        if every_n_steps < 1:
            raise UserError(f"checkpoint_every is {every_n_steps}, it must be at least 1")
        self.last = folder / "last.ckpt"
        self.best = folder / "best.ckpt"
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.mode = mode
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.validation_due = False
        self._saved_step: int | None = None
        self._warned = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save at the interval, before a validation, and at the last step."""
        step = trainer.global_step
        if _validates_now(trainer) or step % self.every_n_steps == 0 or step == trainer.max_steps:
            self.save_batch(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best, then the last: a kill in between repeats the validation with the same result."""
        if trainer.sanity_checking:
            return
        self.validation_due = False
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if self.monitor not in trainer.callback_metrics and not self._warned:
            self._warned = True
            rank_zero_warn(
                f"best_metric: nothing logged {self.monitor} in this validation, so best.ckpt stays as it is"
                + did_you_mean(self.monitor, list(trainer.callback_metrics))
            )
        if self._is_best(value):
            self.best_value, self.best_step = value, trainer.global_step
            self._save(trainer, self.best)
            if trainer.is_global_zero:
                _link_or_copy(self.best, self.last)
        else:
            self._save(trainer, self.last)

    def _is_best(self, value: float) -> bool:
        if math.isnan(value) or self.best_value is None:
            return not math.isnan(value)
        return value > self.best_value if self.mode == "max" else value < self.best_value

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step."""
        if self._saved_step != trainer.global_step:
            self._save(trainer, self.last)

    def save_batch(self, trainer: Trainer) -> None:
        """Save `last.ckpt` at the end of a batch, before the validation that may be due."""
        if self._saved_step != trainer.global_step:
            self.validation_due = _validates_now(trainer)
            self._save(trainer, self.last)

    def _save(self, trainer: Trainer, path: Path) -> None:
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_step = trainer.global_step

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Mark a due validation as Lightning marks a run that was stopped during validation."""
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
        """Return the best value and step so far, of which logged value, and whether a validation is due."""
        best = {"best_value": self.best_value, "best_step": self.best_step, "monitor": f"{self.mode} {self.monitor}"}
        return {**best, "validation_due": self.validation_due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value and step, unless they are of another logged value."""
        if state_dict.get("monitor", "max val/psnr") == f"{self.mode} {self.monitor}":
            self.best_value, self.best_step = state_dict["best_value"], state_dict["best_step"]
        self.validation_due = state_dict.get("validation_due", False)


def _validates_now(trainer: Trainer) -> bool:
    """Return whether Lightning validates after this batch; private names of 2.6, the resume tests fail if they change."""
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def _link_or_copy(source: Path, target: Path) -> None:
    """Create a hard link, or a copy on a file system without hard links, atomically."""
    with atomic_write(target) as part:
        part.unlink(missing_ok=True)
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
