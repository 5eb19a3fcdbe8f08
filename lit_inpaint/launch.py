"""How the processes of a run were started, whether that fits its settings, and what they agree on before they train.

A run has one process for each device. Lightning starts them itself on one machine; `torchrun` and `srun` start them on one or
several. All of this is read from the environment, so nothing here waits for another process but `agree`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lit_inpaint.slurm import current_job, interactive
from lit_inpaint.types import UserError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

PATIENCE = 90.0
"""Seconds for the slowest process to start, and for a shared file system to show what another machine wrote (NFS: up to 60)."""


@dataclass(frozen=True)
class Launch:
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


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
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
    return Launch("Lightning", rank=int(environment.get("LOCAL_RANK", "0")), node=node)


def _torchrun(environment: Mapping[str, str]) -> Launch:
    world, local, nodes = (int(environment.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"))
    if world != local * nodes:
        raise UserError(
            f"torchrun started {world} processes on {nodes} nodes, {local} of them here; give every node the same "
            "--nproc-per-node"
        )
    names = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT", "WORLD_SIZE")
    key = "-".join(environment.get(name, "") for name in names)
    return Launch("torchrun", int(environment["RANK"]), int(environment.get("GROUP_RANK", "0")), nodes, local, key)


def _srun(environment: Mapping[str, str]) -> Launch:
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    per_node = _tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", environment["SLURM_STEP_NUM_TASKS"]))
    if len(per_node) > 1:
        raise UserError(
            f"srun started {min(per_node)} to {max(per_node)} tasks on {nodes} nodes; the same number belongs on each: "
            "srun --ntasks-per-node=N, one for each GPU"
        )
    names = ("JOB_ID", "STEP_ID", "RESTART_COUNT", "SRUN_COMM_PORT", "STEP_LAUNCHER_PORT")
    key = "-".join(environment.get(f"SLURM_{name}", "") for name in names)
    return Launch("srun", int(environment["SLURM_PROCID"]), int(environment["SLURM_NODEID"]), nodes, per_node.pop(), key)


def _tasks_per_node(text: str) -> set[int]:
    """The numbers in SLURM's short form: `2(x3),1` is 2 on each of three nodes and 1 on the fourth."""
    return {int(tasks) for tasks in re.findall(r"(\d+)(?:\(x\d+\))?", text)}


def settle_devices(launch: Launch, devices: object, num_nodes: int, strategy: object, gpus: int | None) -> Devices:
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


def agree(launch: Launch, wanted: Path, choose: Callable[[], tuple[Path, bool]]) -> tuple[Path, bool]:
    """The run folder that the first process chooses, and whether to go on from a checkpoint there, in every process.

    Under torchrun the first process tells the others through torchrun's own store. Under srun there is none, and it leaves a
    hidden file in the nearest folder that exists. Over several nodes the file also shows that all of them see the same disk.

    Args:
        launch: of this process.
        wanted: the folder, or the one it will lie in; the file goes there, or as near above as there is a folder.
        choose: makes the choice; called in the first process alone.

    Raises:
        UserError: what `choose` raises, in the first process; in another one: nothing was heard of the first, or its file is
            not seen here.
        SystemExit: the first process failed, and has said so.
    """
    if not launch.external or launch.processes == 1:
        return choose()
    store = _store(launch) if launch.launcher == "torchrun" else None
    name = f".launch-{hashlib.blake2b(launch.key.encode(), digest_size=8).hexdigest()}"
    if launch.rank == 0:
        return _tell(launch, store, wanted, name, choose)
    said = _hear(store, wanted, name)
    if said is None:
        raise UserError(
            f"{socket.gethostname()} (process {launch.rank}) has not heard within {PATIENCE:.0f} seconds which run folder "
            f"the first process of {launch.launcher} chose; {wanted.absolute()} must be on a file system that all nodes share; "
            "name one with --run_dir DIR"
        )
    if said["failed"]:
        raise SystemExit(2)
    if store is not None and launch.node > 0 and not _appears(Path(said["file"])):
        raise UserError(
            f"{socket.gethostname()} does not see the run folder {said['path']} of {said['host']}; name one on a file system "
            "that both share: --run_dir DIR"
        )
    return Path(said["path"]), said["going_on"]


def _tell(
    launch: Launch, store: Store | None, wanted: Path, name: str, choose: Callable[[], tuple[Path, bool]]
) -> tuple[Path, bool]:
    file = _existing(wanted) / name
    said: dict[str, Any] = {"failed": True, "host": socket.gethostname(), "file": str(file.absolute())}
    path, going_on = wanted, False
    try:
        path, going_on = choose()
        said |= {"failed": False, "path": str(path), "going_on": going_on}
    finally:
        text = json.dumps(said)
        if store is None or launch.nodes > 1:
            try:
                part = file.with_name(f"{name}.part")
                part.write_text(text)
                part.replace(file)
            except OSError as error:
                raise UserError(f"cannot write to {file.parent} ({error.strerror}); name another --run_dir") from None
        if store is not None:
            store.set("run", text)
        elif said["failed"]:
            time.sleep(2)  # for the others to see it
            file.unlink(missing_ok=True)
    return path, going_on


def _hear(store: Store | None, wanted: Path, name: str) -> dict[str, Any] | None:
    if store is not None:
        try:
            heard: dict[str, Any] = json.loads(store.get("run"))
        except RuntimeError:  # the time is over
            return None
        return heard
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for folder in (wanted.absolute(), *wanted.absolute().parents):
            with suppress(OSError, ValueError):
                found: dict[str, Any] = json.loads((folder / name).read_text())
                return found
        time.sleep(0.1)
    return None


def forget(launch: Launch, wanted: Path) -> None:
    """Take the first process's file away, once all processes have met."""
    if launch.rank == 0 and launch.external:
        name = f".launch-{hashlib.blake2b(launch.key.encode(), digest_size=8).hexdigest()}"
        for folder in (wanted.absolute(), *wanted.absolute().parents):
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def _appears(file: Path) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if file.exists():
            return True
        time.sleep(0.2)
    return False


def _store(launch: Launch) -> Store:
    """Torchrun's own store, which its agent keeps.

    Raises:
        UserError: there is none.
    """
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    try:
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise RuntimeError("torchrun shares no store")
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return PrefixStore(f"lit_inpaint/{launch.key}", TCPStore(address, port, timeout=timedelta(seconds=PATIENCE)))
    except RuntimeError as error:
        raise UserError(
            f"the processes of torchrun cannot agree on a run folder ({str(error).splitlines()[0]}); unset "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE if it is set"
        ) from None


def first_to_say(launch: Launch, message: str) -> bool:
    """Whether this process should print a message that others of the run may have too: the first process, if it has it.

    Under srun each node counts for itself, as before the choice of a run folder nodes share nothing that could be asked.
    """
    if not launch.external or launch.processes == 1:
        return True
    if launch.rank > 0:
        time.sleep(1)
    digest = hashlib.blake2b(f"{launch.key} {message}".encode(), digest_size=12).hexdigest()
    if launch.launcher == "torchrun":
        with suppress(UserError, RuntimeError):
            return _store(launch).add(digest, 1) == 1
    file = Path(tempfile.gettempdir()) / f"lit_inpaint-{digest}"
    with suppress(OSError):
        if time.time() - file.stat().st_mtime > 60:
            file.unlink()
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def file_system(path: Path) -> str:
    """Kind of the file system that `path` lies or will lie on, such as ext4, nfs4 or lustre; empty where that is not known."""
    there = str(_existing(path).resolve())
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
    nearest = max(1, round(papers / processes))
    return (
        f"{line}; the experiment's file says {papers}, which {processes} processes cannot share evenly: --data.batch_size "
        f"{nearest} gives {nearest * processes}"
    )


def describe(
    launch: Launch, devices: Devices, kind: str, batch: str, strategy: str, precision: str, run: Path, going_on: bool
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
