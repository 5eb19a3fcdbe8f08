"""Lightning callbacks: checkpoints, validation metrics, sample grids, EMA, training log, MACs, progress bar, NaN guard."""

from lit_inpaint.callbacks.ema import GeneratorEMA
from lit_inpaint.callbacks.log_macs import LogMACs
from lit_inpaint.callbacks.nan_guard import NaNGuard
from lit_inpaint.callbacks.progress import RunProgress
from lit_inpaint.callbacks.samples import SampleGrids
from lit_inpaint.callbacks.save_checkpoints import AtomicCheckpointIO, RunCheckpoint
from lit_inpaint.callbacks.training_log import TrainingLog, log
from lit_inpaint.callbacks.validation_metrics import ValidationMetrics

__all__ = [
    "AtomicCheckpointIO",
    "GeneratorEMA",
    "LogMACs",
    "NaNGuard",
    "RunCheckpoint",
    "RunProgress",
    "SampleGrids",
    "TrainingLog",
    "ValidationMetrics",
    "log",
]
