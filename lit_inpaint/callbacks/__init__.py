"""What happens around training: checkpoints, quality, samples, averages, logs, progress, interruptions."""

from lit_inpaint.callbacks.attendance import Attendance
from lit_inpaint.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoint
from lit_inpaint.callbacks.cost_log import CostLog
from lit_inpaint.callbacks.csv_log import CSVLog
from lit_inpaint.callbacks.ema import GeneratorEMA
from lit_inpaint.callbacks.interruption import Interruption
from lit_inpaint.callbacks.nan_guard import NaNGuard
from lit_inpaint.callbacks.progress import RunProgress
from lit_inpaint.callbacks.provenance import Provenance
from lit_inpaint.callbacks.quality import Quality
from lit_inpaint.callbacks.samples import SampleGrids
from lit_inpaint.callbacks.tensorboard_log import tensorboard_logger
from lit_inpaint.callbacks.training_log import TrainingLog
from lit_inpaint.callbacks.wandb_log import Wandb, end_helper, finish
from lit_inpaint.callbacks.watchdog import Watchdog

__all__ = [
    "AtomicCheckpointIO",
    "Attendance",
    "CSVLog",
    "CostLog",
    "GeneratorEMA",
    "Interruption",
    "NaNGuard",
    "Provenance",
    "Quality",
    "RunCheckpoint",
    "RunProgress",
    "SampleGrids",
    "TrainingLog",
    "Wandb",
    "Watchdog",
    "end_helper",
    "finish",
    "tensorboard_logger",
]
