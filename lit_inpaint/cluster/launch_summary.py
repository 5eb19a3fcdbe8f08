"""Print the launch summary: processes, effective batch size, strategy, precision, run directory and SLURM job."""

from __future__ import annotations

import importlib
import inspect
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_inpaint.cluster.agree_on_run_dir import nearest_existing_dir
from lit_inpaint.cluster.launch_info import LaunchInfo
from lit_inpaint.cluster.resolve_devices import Devices
from lit_inpaint.cluster.slurm_job import current_job
from lit_inpaint.storage.user_path import real_path

if TYPE_CHECKING:
    from lit_inpaint.engine.inpainter import Inpainter


def print_launch_summary(
    launch: LaunchInfo,
    devices: Devices,
    trainer_args: Mapping[str, Any],
    tf32: bool,
    batch: str,
    model: Inpainter,
    run_dir: Path,
    resumes: bool,
) -> None:
    """Print the launch summary where it is of use: on rank 0 of several processes, or in a SLURM job.

    Args:
        launch: of this process.
        devices: of the run.
        trainer_args: keyword arguments of Lightning's Trainer.
        tf32: whether training uses TF32.
        batch: from `describe_batch_size`.
        model: the paper.
        run_dir: the run directory.
        resumes: whether the run resumes from a checkpoint.
    """
    if not launch.is_global_zero or (devices.processes == 1 and current_job() is None):
        return
    import torch

    from lit_inpaint.engine.ddp_strategy import describe_strategy
    from lit_inpaint.engine.tf32 import describe_precision

    gpu = trainer_args["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    device = torch.cuda.get_device_name(0) if gpu else "CPU"
    strategy = describe_strategy(devices.processes, trainer_args["strategy"], model.stages(), model.discriminator is not None)
    capability = torch.cuda.get_device_capability(0) if gpu else None
    precision = describe_precision(str(trainer_args["precision"] or "32-true"), tf32, capability)
    print(*launch_summary(launch, devices, device, batch, strategy, precision, run_dir, resumes), sep="\n")


def launch_summary(
    launch: LaunchInfo, devices: Devices, device: str, batch: str, strategy: str, precision: str, run_dir: Path, resumes: bool
) -> list[str]:
    """Format the lines of the launch summary; arguments as for `print_launch_summary`.

    Args:
        launch: of this process.
        devices: of the run.
        device: "CPU" or the GPU's name.
        batch: from `describe_batch_size`.
        strategy: from `describe_strategy`.
        precision: from `describe_precision`.
        run_dir: the run directory.
        resumes: whether the run resumes from a checkpoint.
    """
    job = current_job()
    count = f"{devices.nodes} node{'s' * (devices.nodes > 1)} x {devices.per_node} device{'s' * (devices.per_node > 1)}"
    disk = file_system(run_dir)
    lines = {
        "processes": f"{devices.processes} = {count} ({device}), started by {launch.launcher}",
        "batch": batch,
        "strategy": strategy,
        "precision": precision,
        "directory": f"{run_dir.absolute()}{f' ({disk})' if disk else ''}, {'resumes' if resumes else 'new'}",
    }
    if job is not None:
        times = f"requeued {job.restarts} time{'s' * (job.restarts > 1)}" if job.restarts else "not requeued so far"
        lines["SLURM job"] = f"{job.name}, start {job.restarts + 1} ({times}), on {socket.gethostname()}"
    return ["Launch", *(f"  {name:<12}{text}" for name, text in lines.items())]


def describe_batch_size(per_process: int, processes: int, in_experiment: int) -> str:
    """Describe the effective batch size, and the option that restores the experiment's.

    Args:
        per_process: samples per process and batch.
        processes: number of processes.
        in_experiment: batch size in the experiment's file, for one process.
    """
    effective = per_process * processes
    line = f"{per_process} x {processes} process{'es' * (processes > 1)} = {effective}"
    if effective == in_experiment:
        return f"{line}, as in the experiment's file"
    line += f"; {in_experiment} in the experiment's file"
    if in_experiment % processes == 0:
        return f"{line}: --data.batch_size {in_experiment // processes} restores it"
    line += f", which {processes} processes cannot share evenly"
    nearest = max(1, round(in_experiment / processes))
    return line if nearest == per_process else f"{line}: --data.batch_size {nearest} gives {nearest * processes}"


def experiment_batch_size(data: object, class_path: str) -> int:
    """Return the batch size in the experiment's file, before any command-line option.

    Args:
        data: the file's `data` section; a class path may stand there alone.
        class_path: of the data module, whose default applies where the file gives no batch size.
    """
    given = data.get("init_args", data).get("batch_size") if isinstance(data, dict) else None
    if given is not None:
        return int(given)
    module, _, name = class_path.rpartition(".")
    return int(inspect.signature(getattr(importlib.import_module(module), name)).parameters["batch_size"].default)


def file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`, such as ext4, nfs4 or lustre; empty where it is unknown."""
    existing = str(real_path(nearest_existing_dir(path)))
    try:
        lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    mounts = [
        (len(mount), kind) for _, mount, kind, *_ in lines if existing == mount or existing.startswith(mount.rstrip("/") + "/")
    ]
    return max(mounts, default=(0, ""), key=lambda item: item[0])[1]
