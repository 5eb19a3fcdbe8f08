"""The same validation images again and again: `samples/step_<n>.png`, W&B and TensorBoard at the same step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from lit_inpaint.errors import UserError
from lit_inpaint.metrics import psnr
from lit_inpaint.types import composite
from lit_inpaint.visualization.grids import GridRow, draw_grid, evenly_spaced, overlay_mask

COLUMNS = ("masked input", "output", "composite", "target")


class SampleGrids(Callback):
    """One row for each of `count` validation samples spread evenly over the set: masked input, output, composite, target.

    Args:
        folder: where the PNGs go.
        count: rows.
        every: batches at least between two grids; 0 for one at each validation.

    Raises:
        UserError: one of the numbers is negative.
    """

    def __init__(self, folder: Path, count: int = 8, every: int = 0) -> None:
        if count < 0 or every < 0:
            raise UserError(f"num_samples is {count} and sample_every {every}; neither may be negative")
        self.folder = folder
        self.count = count
        self.every = every
        self._rows: list[GridRow] = []
        self._position = 0
        self._wanted: frozenset[int] = frozenset()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the rows; rank 0 draws from its own share of the set."""
        self._rows, self._position = [], 0
        draws = trainer.is_global_zero and self._due(trainer.global_step)
        total = len(cast(Any, trainer.val_dataloaders).sampler) if draws else 0
        self._wanted = frozenset(evenly_spaced(total, self.count))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the rows that this batch holds."""
        start, self._position = self._position, self._position + len(batch["name"])
        for position in sorted(self._wanted.intersection(range(start, self._position))):
            i = position - start
            image, mask, output = batch["image"][i], batch["mask"][i], outputs["image"][i].float()
            whole = composite(image[None], output[None].clamp(0, 1), mask[None])
            label = f"{batch['name'][i]}\nmask ratio {float(mask.mean()):.0%}\n{float(psnr(whole, image[None])):.1f} dB"
            self._rows.append(GridRow(label, [x.cpu() for x in (overlay_mask(image, mask), output, whole[0], image)]))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if not self._rows:
            return
        step = trainer.global_step
        page = draw_grid(self._rows, COLUMNS, title=f"{type(pl_module).__name__}, step {step}")
        self.folder.mkdir(parents=True, exist_ok=True)
        page.save(self.folder / f"step_{step:07d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/samples", [page], step=step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/samples", np.asarray(page.convert("RGB")), step, dataformats="HWC")
        self._rows = []

    def _due(self, step: int) -> bool:
        """Judged by the grids that lie in the folder, so that a run that goes on draws at the steps it would have drawn at."""
        steps = (path.stem.removeprefix("step_") for path in self.folder.glob("step_*.png"))
        drawn = (int(text) for text in steps if text.isdecimal())  # a copy that somebody made is not ours
        return all(step - before >= self.every for before in drawn if before < step)
