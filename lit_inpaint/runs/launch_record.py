"""Which machines took part in each start of a run."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_inpaint.runs.environment_snapshot import environment_info


class LaunchRecord(Callback):
    """Adds an entry to `machines.yaml` when the processes of a start have met.

    An entry holds when the run was started and at which step, the launcher, every process's host and device, and what
    `lit_inpaint.runs.environment_snapshot` says of the first one's machine.

    Args:
        file: a YAML list, one entry for each start, made when it is needed.
        launcher: who started the processes.
        met: called in every process once all have met.
    """

    def __init__(self, file: Path, launcher: str, met: Callable[[], None]) -> None:
        self.file = file
        self.launcher = launcher
        self.met = met

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All have met, or this would not be reached."""
        self.met()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count those present; the step is known now."""
        device = trainer.strategy.root_device
        own = f"{socket.gethostname()} {torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type}"
        present: list[Any] = [own]
        if trainer.world_size > 1:
            present = [None] * trainer.world_size
            torch.distributed.all_gather_object(present, own)
        if not trainer.is_global_zero:
            return
        entry = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "step": trainer.global_step,
            "launcher": self.launcher,
            "processes": present,
            "machine": environment_info(),
        }
        with self.file.open("a") as file:
            file.write(yaml.safe_dump([entry], sort_keys=False))
