"""TensorBoard: the same numbers, words and grids, below the run folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger

from lit_inpaint.errors import UserError


def tensorboard_logger(run_dir: Path, step: int | None) -> TensorBoardLogger:
    """Event files in `tensorboard/`; a run that goes on appends one, and readers forget the numbers and images that it repeats.

    Args:
        run_dir: the run folder.
        step: batches learnt from when the run goes on, None for a new one.

    Raises:
        UserError: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("tensorboard is not installed; run pip install 'lit_inpaint[tensorboard]', or leave --tensorboard out")
    return TensorBoardLogger(run_dir, name="tensorboard", version="", purge_step=0 if step is None else step + 1)
