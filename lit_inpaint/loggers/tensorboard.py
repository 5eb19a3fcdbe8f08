"""TensorBoard logger of a run directory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger

from lit_inpaint.errors import UserError


def tensorboard_logger(run_dir: Path, step: int | None) -> TensorBoardLogger:
    """Create the logger of `tensorboard/`; a resumed run adds an event file, and TensorBoard drops what it repeats.

    That holds for numbers and images. TensorBoard shows repeated text twice.

    Args:
        run_dir: the run directory.
        step: number of trained batches of a resumed run, None for a new one.

    Raises:
        UserError: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("tensorboard is not installed; run pip install 'lit_inpaint[tensorboard]', or leave --tensorboard out")
    return TensorBoardLogger(run_dir, name="tensorboard", version="", purge_step=0 if step is None else step + 1)
