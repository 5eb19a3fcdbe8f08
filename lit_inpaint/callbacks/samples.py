"""Save a grid of sample images at validations, as `samples/step_<n>.png` and in W&B and TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from lit_inpaint.errors import UserError
from lit_inpaint.metrics import psnr, round_uint8
from lit_inpaint.types import composite
from lit_inpaint.visualization.grids import GridRow, draw_grid, evenly_spaced, overlay_mask, save_grid

FIRST_COLUMN, LAST_COLUMNS = "masked input", ("output", "composite", "target")


class SampleGrids(Callback):
    """Draws one row for each of `count` validation samples: masked input, stages of the prediction, output, composite, target.

    The stages are those of `Prediction.stages` that are images, such as coarse outputs and edges. The samples are evenly spaced
    over the validation set and the same at every validation. The files hold each row's name, mask ratio and PSNR too, of the
    composite in 8 bits; see `visualization.grids.read_scores`.

    Args:
        folder: for the PNG files.
        count: number of rows.
        every: min batches between two grids; 0 for one at each validation.

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
        self._stages: list[str] = []
        self._scores: list[dict[str, str | float]] = []
        self._index = 0
        self._selected: frozenset[int] = frozenset()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Select the samples, among those of rank 0."""
        self._rows, self._scores, self._index = [], [], 0
        draws = trainer.is_global_zero and self._is_due(trainer.global_step)
        total = len(cast(Any, trainer.val_dataloaders).sampler) if draws else 0
        self._selected = frozenset(evenly_spaced(total, self.count))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add rows for the selected samples of this batch."""
        self._stages = [name for name, x in outputs.items() if name != "image" and x.ndim == 4 and x.shape[1] in (1, 3)]
        start, self._index = self._index, self._index + len(batch["name"])
        for index in sorted(self._selected.intersection(range(start, self._index))):
            i = index - start
            image, mask, output = batch["image"][i], batch["mask"][i], outputs["image"][i].float()
            completed = composite(image[None], output[None].clamp(0, 1), mask[None])
            name, ratio = batch["name"][i], float(mask.mean())
            decibels = float(psnr(round_uint8(completed), round_uint8(image[None])))
            label = f"{name}\nmask ratio {ratio:.0%}\n{decibels:.1f} dB"
            self._scores.append({"name": name, "mask_ratio": ratio, "psnr": decibels})
            stages = [outputs[name][i].float() for name in self._stages]
            images = [overlay_mask(image, mask), *stages, output, completed[0], image]
            self._rows.append(GridRow(label, [x.cpu() for x in images]))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the grid, save it and log it."""
        if not self._rows:
            return
        step = trainer.global_step
        columns = (FIRST_COLUMN, *(name.replace("_", " ") for name in self._stages), *LAST_COLUMNS)
        grid = draw_grid(self._rows, columns, title=f"{getattr(pl_module, 'label', type(pl_module).__name__)}, step {step}")
        self.folder.mkdir(parents=True, exist_ok=True)
        save_grid(grid, self.folder / f"step_{step:07d}.png", self._scores)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/samples", [grid], step=step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/samples", np.asarray(grid.convert("RGB")), step, dataformats="HWC")
        self._rows = []

    def _is_due(self, step: int) -> bool:
        """Compare `step` with the grids on disk, so that a resumed run draws at the same steps as an uninterrupted one."""
        names = (path.stem.removeprefix("step_") for path in self.folder.glob("step_*.png"))
        steps = (int(name) for name in names if name.isdecimal())  # ignores files such as step_copy.png
        return all(step - before >= self.every for before in steps if before < step)
