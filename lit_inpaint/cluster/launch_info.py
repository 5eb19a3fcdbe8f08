"""How the processes of a run were started, and whether that fits its settings.

A run has one process for each device. Lightning starts them itself on one machine; `torchrun` and `srun` start them on one or
several. All of this is read from the environment, so nothing here waits for another process.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lit_inpaint.cluster.slurm_job import current_job, interactive
from lit_inpaint.errors import UserError


@dataclass(frozen=True)
class LaunchInfo:
    """Where this process stands among those of the run.

    Attributes:
        launcher: who started them; "Lightning" starts those beside the first one later, and by itself.
        rank: of this process among all, 0 for the one that chooses, writes and prints.
        node: of its machine among the run's.
        nodes: machines of the run.
        per_node: processes on each, None where the settings decide.
        key: shared by the processes of this start alone, so that a file or message of an earlier one is never taken for theirs.
    """

    launcher: Literal["Lightning", "torchrun", "srun"]
    rank: int = 0
    node: int = 0
    nodes: int = 1
    per_node: int | None = None
    key: str = ""

    @property
    def external(self) -> bool:
        """Whether something outside started all processes already."""
        return self.launcher != "Lightning"

    @property
    def processes(self) -> int:
        """Of the run, as far as the launcher decides that."""
        return self.nodes * (self.per_node or 1)


@dataclass(frozen=True)
class Devices:
    """What the run trains on: `nodes` machines with `per_node` devices each."""

    nodes: int
    per_node: int

    @property
    def processes(self) -> int:
        """One for each device."""
        return self.nodes * self.per_node


def find_launch(environment: Mapping[str, str] = os.environ) -> LaunchInfo:
    """How this process was started.

    Raises:
        UserError: two launchers at once, a SLURM job of several tasks without srun, or unequal numbers of processes on its
            nodes.
    """
    steps = "SLURM_STEP_ID" in environment and not interactive(environment)
    if "TORCHELASTIC_RUN_ID" in environment:
        launch = _torchrun(environment)
        tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1")) if steps else launch.nodes
        if tasks != launch.nodes:
            raise UserError(
                f"srun started torchrun {tasks} times, but torchrun runs on {launch.nodes} node{'s' * (launch.nodes > 1)}; use "
                f"one launcher: srun --ntasks-per-node=1 torchrun --nnodes=NODES …, or srun python -m lit_inpaint.fit …"
            )
        return launch
    if steps:
        return _srun(environment)
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    if tasks > 1 and not interactive(environment):
        raise UserError(
            f"this SLURM job has {tasks} tasks, but was started without srun, which would start them: put srun before "
            "python -m lit_inpaint.fit, or ask for --ntasks=1"
        )
    node = int(environment.get("NODE_RANK", "0"))
    return LaunchInfo("Lightning", rank=int(environment.get("LOCAL_RANK", "0")), node=node)


def _torchrun(environment: Mapping[str, str]) -> LaunchInfo:
    world, local, nodes = (int(environment.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"))
    if world != local * nodes:
        raise UserError(
            f"torchrun started {world} processes on {nodes} nodes, {local} of them here; give every node the same "
            "--nproc-per-node"
        )
    names = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT", "WORLD_SIZE")
    key = "-".join(environment.get(name, "") for name in names)
    return LaunchInfo("torchrun", int(environment["RANK"]), int(environment.get("GROUP_RANK", "0")), nodes, local, key)


def _srun(environment: Mapping[str, str]) -> LaunchInfo:
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    per_node = _tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", environment["SLURM_STEP_NUM_TASKS"]))
    if len(per_node) > 1:
        raise UserError(
            f"srun started {min(per_node)} to {max(per_node)} tasks on {nodes} nodes; the same number belongs on each: "
            "srun --ntasks-per-node=N, one for each GPU"
        )
    names = ("JOB_ID", "STEP_ID", "RESTART_COUNT", "SRUN_COMM_PORT", "STEP_LAUNCHER_PORT")
    key = "-".join(environment.get(f"SLURM_{name}", "") for name in names)
    return LaunchInfo("srun", int(environment["SLURM_PROCID"]), int(environment["SLURM_NODEID"]), nodes, per_node.pop(), key)


def _tasks_per_node(text: str) -> set[int]:
    """The numbers in SLURM's short form: `2(x3),1` is 2 on each of three nodes and 1 on the fourth."""
    return {int(tasks) for tasks in re.findall(r"(\d+)(?:\(x\d+\))?", text)}


def resolve_devices(launch: LaunchInfo, devices: object, num_nodes: int, strategy: object, gpus: int | None) -> Devices:
    """What the run trains on: what the user says, else what the launcher says; both must be the same.

    Args:
        launch: of this process.
        devices: the setting `trainer.devices`; "auto" says nothing.
        num_nodes: the setting `trainer.num_nodes`; 1 says nothing.
        strategy: the setting `trainer.strategy`.
        gpus: GPUs that this process sees, None where the run does not use them.

    Raises:
        UserError: a contradiction, with what to say instead.
    """
    wanted = _count(devices)
    if not launch.external or launch.per_node is None:
        if num_nodes > 1 and not {"NODE_RANK", "GROUP_RANK"} & os.environ.keys():
            raise UserError(
                f"--trainer.num_nodes {num_nodes}, but nothing started this on other nodes; use torchrun --nnodes={num_nodes} "
                "or srun (experiments/cluster/), or leave num_nodes out"
            )
        return Devices(num_nodes, wanted if wanted is not None else gpus or 1)
    here, nodes = launch.per_node, launch.nodes
    srun = launch.launcher == "srun"
    each, all_nodes = ("--ntasks-per-node", "--nodes") if srun else ("--nproc-per-node", "--nnodes")
    if wanted is not None and wanted != here:
        raise UserError(
            f"--trainer.devices {_said(devices)}, but {launch.launcher} started {here} process{'es' * (here > 1)} per node, "
            f"and each device needs one: say {launch.launcher} {each}={wanted}, or leave --trainer.devices out"
        )
    if num_nodes not in (1, nodes):
        raise UserError(
            f"--trainer.num_nodes {num_nodes}, but {launch.launcher} runs on {nodes} node{'s' * (nodes > 1)}: say "
            f"{launch.launcher} {all_nodes}={num_nodes}, or leave --trainer.num_nodes out"
        )
    if isinstance(strategy, str) and any(word in strategy for word in ("spawn", "fork", "notebook")):
        raise UserError(
            f"--trainer.strategy {strategy} starts processes itself, beside those of {launch.launcher}; use --trainer.strategy "
            "ddp or leave it out"
        )
    if gpus is not None and 0 < gpus < here:
        remedy = (
            f"ask for --gpus-per-node={here}, not --gpus-per-task or --gpu-bind, or say --ntasks-per-node={gpus}"
            if srun
            else f"say --nproc-per-node={gpus}"
        )
        raise UserError(
            f"{launch.launcher} started {here} processes per node, but each sees {gpus} GPU{'s' * (gpus > 1)}, where all of "
            f"the node's must be seen: {remedy}"
        )
    return Devices(nodes, here)


def _count(devices: object) -> int | None:
    """Devices that the setting asks for, None where it leaves that open."""
    if isinstance(devices, list):
        return len(devices)
    text = str(devices)
    if "," in text:
        return len([part for part in text.split(",") if part.strip()])
    return int(text) if text.isdigit() else None


def _said(devices: object) -> str:
    return ",".join(map(str, devices)) if isinstance(devices, list) else str(devices)


def existing_folder(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def file_system(path: Path) -> str:
    """Kind of the file system that `path` lies or will lie on, such as ext4, nfs4 or lustre; empty where that is not known."""
    there = str(existing_folder(path).resolve())
    try:
        lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    found = [(len(place), kind) for _, place, kind, *_ in lines if there == place or there.startswith(place.rstrip("/") + "/")]
    return max(found, default=(0, ""), key=lambda item: item[0])[1]


def batch_line(batch: int, processes: int, papers: int) -> str:
    """The effective batch beside the experiment's, and the setting that would restore it.

    Args:
        batch: samples per process.
        processes: of the run.
        papers: the batch that the experiment's file says, of one process.
    """
    whole = batch * processes
    line = f"{batch} x {processes} process{'es' * (processes > 1)} = {whole}"
    if whole == papers:
        return f"{line}, as in the experiment's file"
    if papers % processes == 0:
        return f"{line}; the experiment's file says {papers}: --data.batch_size {papers // processes} restores it"
    line += f"; the experiment's file says {papers}, which {processes} processes cannot share evenly"
    nearest = max(1, round(papers / processes))
    return line if nearest == batch else f"{line}: --data.batch_size {nearest} gives {nearest * processes}"


def launch_summary(
    launch: LaunchInfo, devices: Devices, kind: str, batch: str, strategy: str, precision: str, run: Path, going_on: bool
) -> Sequence[str]:
    """The plan of a run, one line for each point.

    Args:
        launch: of this process.
        devices: as settled.
        kind: of device, "CPU" or a GPU's name.
        batch: of `batch_line`.
        strategy: how the processes train together, and why so.
        precision: the trainer's.
        run: the run folder.
        going_on: whether there is a checkpoint to go on from.
    """
    job = current_job()
    count = f"{devices.nodes} node{'s' * (devices.nodes > 1)} x {devices.per_node} device{'s' * (devices.per_node > 1)}"
    disk = file_system(run)
    lines = {
        "processes": f"{devices.processes} = {count} ({kind}), started by {launch.launcher}",
        "batch": batch,
        "strategy": strategy,
        "precision": precision,
        "run folder": f"{run.absolute()}{f' ({disk})' if disk else ''}, {'going on' if going_on else 'new'}",
    }
    if job is not None:
        times = f"requeued {job.restarts} time{'s' * (job.restarts > 1)}" if job.restarts else "not requeued so far"
        lines["SLURM job"] = f"{job.name}, start {job.restarts + 1} ({times}), on {socket.gethostname()}"
    return ["Plan", *(f"  {name:<12}{text}" for name, text in lines.items())]
