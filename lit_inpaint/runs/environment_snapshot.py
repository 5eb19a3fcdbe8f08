"""Record what a run was made with: machine, versions and commit of each launch; configuration and images in checkpoints."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_inpaint.data import InpaintingData
from lit_inpaint.data.split_record import Record, record_splits
from lit_inpaint.data.workers import available_cores


class LaunchRecord(Callback):
    """Appends an entry to `launches.yaml` at each start of training.

    An entry holds the time, the step, the launcher, host and device of every process, and `environment_info` of rank 0.

    Args:
        file: a YAML list, one entry for each launch; created when it is needed.
        launcher: what started the processes.
        on_joined: called in every process once all have joined the process group.
    """

    def __init__(self, file: Path, launcher: str, on_joined: Callable[[], None]) -> None:
        self.file = file
        self.launcher = launcher
        self.on_joined = on_joined

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `on_joined`: Lightning calls this hook after all processes have joined."""
        self.on_joined()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather hosts and devices and write the entry; the step is known now."""
        device = trainer.strategy.root_device
        own = f"{socket.gethostname()} {torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type}"
        processes: list[Any] = [own]
        if trainer.world_size > 1:
            processes = [None] * trainer.world_size
            torch.distributed.all_gather_object(processes, own)
        if not trainer.is_global_zero:
            return
        entry = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "step": trainer.global_step,
            "launcher": self.launcher,
            "processes": processes,
            "machine": environment_info(),
        }
        with self.file.open("a") as file:
            file.write(yaml.safe_dump([entry], sort_keys=False))


class RunInCheckpoint(Callback):
    """Writes the run's complete configuration, masks included, and the record of its images into every checkpoint.

    Args:
        config: plain data.
        data: the data module.
    """

    def __init__(self, config: dict[str, Any], data: InpaintingData) -> None:
        self.config = config
        self._data = data

    @cached_property
    def splits(self) -> Record:
        """Record of the images of each split; made when it is first needed, as it takes seconds for millions of images."""
        return record_splits(self._data)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the configuration to the entry to which the module adds its own part afterwards, and the record beside it."""
        checkpoint["lit_inpaint"] = {**checkpoint.get("lit_inpaint", {}), "config": self.config}
        checkpoint["splits"] = self.splits


def environment_info() -> dict[str, str | int | float]:
    """Describe this machine as flat plain data, for logs and dashboards; what cannot be determined is left out.

    Returns:
        `host`; `cpu` (model), `cores` (that this process may use), `memory_gib`; `gpus` (number), `gpu` (names, as `4 x NVIDIA
        H200`), `gpu_memory_gib` (of the first), `cuda`; `python`, `torch`, `lightning`, `lit_inpaint` (versions); `commit` and
        `modified` (1 if tracked files differ from it) where the package lies in a checkout.
    """
    info: dict[str, str | int | float] = {"host": socket.gethostname(), "cpu": _cpu_model(), "cores": available_cores()}
    if memory := _memory_bytes():
        info["memory_gib"] = round(memory / 2**30, 1)
    info["gpus"] = torch.cuda.device_count()
    if info["gpus"]:
        names = Counter(torch.cuda.get_device_name(number) for number in range(int(info["gpus"])))
        info["gpu"] = ", ".join(f"{count} x {name}" for name, count in names.items())
        info["gpu_memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
        info["cuda"] = str(torch.version.cuda or torch.version.hip)
    info["python"] = platform.python_version()
    info["torch"] = str(torch.__version__)
    for package in ("lightning", "lit_inpaint"):
        try:
            info[package] = version(package)
        except PackageNotFoundError:
            continue
    return info | git_state()


def git_state() -> dict[str, str | int]:
    """Return `commit` and `modified` (0 or 1) of the checkout that tracks this package; empty where there is none."""
    package = Path(__file__).resolve().parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:  # installed below some other project's checkout
        return {}
    commit, changes = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {}
    return {"commit": commit.strip(), "modified": int(bool(changes.strip()))}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]  # a killed `git status` would leave its lock
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    """Return the machine's memory, not the limit of a container or job."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
