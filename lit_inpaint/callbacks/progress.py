"""Show one progress bar for the whole run: batches, speed, remaining time, stage and losses."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.visualization.progress_bar import progress_bar, update_interval


class RunProgress(ProgressBar):
    """A tqdm bar over all batches of the run (not of an epoch), and a second one for a long validation.

    In a log file it writes a line every 10 seconds.

    Args:
        every_seconds: min time between two updates on a terminal; reading a loss waits for the device.
    """

    def __init__(self, every_seconds: float = 0.5) -> None:
        super().__init__()
        self.every_seconds = update_interval(every_seconds)
        self._enabled = True
        self._bar: tqdm[Any] | None = None
        self._validation: tqdm[Any] | None = None

    def disable(self) -> None:
        """Disable the bars; Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Enable the bars."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the current step."""
        self._bar = tqdm(
            total=cast(Inpainter, pl_module).stage_schedule.length,
            initial=trainer.global_step,
            desc=_stage_name(trainer, pl_module),
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
        """Advance the bar by one batch."""
        if self._bar is None or not self._bar.update(1) or not isinstance(outputs, Mapping):
            return
        self._bar.set_description(_stage_name(trainer, pl_module), refresh=False)
        names = [name for name in outputs if name not in ("generator", "discriminator")]
        values = torch.stack([outputs[name].float() for name in names]).tolist()  # one wait for the device
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in zip(names, values, strict=True)}, refresh=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the validation's bar."""
        total = trainer.num_val_batches
        batches = int(sum(total)) if isinstance(total, list) else int(total)
        self._validation = progress_bar(description="validation", unit="it", total=batches, disable=not self._enabled)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Advance the validation's bar by one batch."""
        if self._validation is not None:
            self._validation.update(1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the validation's bar."""
        if self._validation is not None:
            self._validation.close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        tqdm.write(" ".join(str(arg) for arg in args), file=sys.stdout)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar and leave it on the screen."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close both bars."""
        for bar in (self._validation, self._bar):
            if bar is not None:
                bar.close()


def _stage_name(trainer: Trainer, module: LightningModule) -> str:
    """Return the name of the stage that the next batch belongs to."""
    return cast(Inpainter, module).stage_name(trainer.global_step)
