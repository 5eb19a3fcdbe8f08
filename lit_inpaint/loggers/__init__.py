"""Loggers: `metrics.csv`, Weights & Biases, TensorBoard."""

from lit_inpaint.loggers.csv import CSVLogger
from lit_inpaint.loggers.tensorboard import tensorboard_logger
from lit_inpaint.loggers.wandb import Wandb

__all__ = ["CSVLogger", "Wandb", "tensorboard_logger"]
