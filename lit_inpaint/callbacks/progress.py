"""One bar for the whole run: batches done and left, speed, time left, losses."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from lit_inpaint.callbacks.training_log import stage_name
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.visualization.progress_bar import update_interval


class RunProgress(ProgressBar):
    """A tqdm bar over all batches of the run (not of an epoch), and a short one for a validation that takes long.

    In a file instead of a terminal it writes a line every 10 seconds.

    Args:
        every_seconds: least time between two refreshes in a terminal; reading a loss waits for the device, so not each batch.
    """

    def __init__(self, every_seconds: float = 0.5) -> None:
        super().__init__()
        self.every_seconds = update_interval(every_seconds)
        self._enabled = True
        self._bar: tqdm[Any] | None = None
        self._validation: tqdm[Any] | None = None

    def disable(self) -> None:
        """Lightning asks this of all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """The opposite of `disable`."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar where the run stands."""
        self._bar = tqdm(
            total=cast(Inpainter, pl_module).stage_schedule.length,
            initial=trainer.global_step,
            desc=stage_name(trainer, pl_module),
            unit="it",
            dynamic_ncols=True,
            mininterval=self.every_seconds,
            smoothing=0.1,
            delay=0.5,  # lines about the first batch come first
            disable=not self._enabled,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One batch further."""
        if self._bar is None or not self._bar.update(1) or not isinstance(outputs, Mapping):
            return
        self._bar.set_description(stage_name(trainer, pl_module), refresh=False)
        losses = {name: f"{float(value):.3f}" for name, value in outputs.items() if name not in ("generator", "discriminator")}
        self._bar.set_postfix(losses, refresh=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show that the pause is a validation."""
        total = trainer.num_val_batches
        batches = int(sum(total)) if isinstance(total, list) else int(total)
        self._validation = tqdm(total=batches, desc="validation", unit="it", leave=False, delay=2, disable=not self._enabled)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """One validation batch further."""
        if self._validation is not None:
            self._validation.update(1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the short bar."""
        if self._validation is not None:
            self._validation.close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        tqdm.write(" ".join(str(arg) for arg in args), file=sys.stdout)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the screen in order."""
        for bar in (self._validation, self._bar):
            if bar is not None:
                bar.close()
