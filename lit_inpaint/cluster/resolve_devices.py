"""Check the Trainer's arguments against the launcher and the machine, and resolve the number of nodes and devices."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lit_inpaint.cluster.launch_info import LaunchInfo
from lit_inpaint.errors import UserError

if TYPE_CHECKING:
    from lit_inpaint.data import InpaintingData


@dataclass(frozen=True)
class Devices:
    """Nodes of a run and devices on each node."""

    nodes: int
    per_node: int

    @property
    def processes(self) -> int:
        """Number of processes, one per device."""
        return self.nodes * self.per_node


def check_trainer_args(launch: LaunchInfo, args: Mapping[str, Any]) -> Devices:
    """Check the Trainer's arguments, before any data is opened; return the devices of the run.

    Args:
        launch: of this process.
        args: keyword arguments of Lightning's Trainer.

    Raises:
        UserError: nothing would be trained, the precision is not supported, the devices do not exist, or the arguments do not
            fit the launcher.
    """
    if args["max_steps"] == 0 or args["max_epochs"] == 0:
        raise UserError("trainer.max_steps or max_epochs is 0, so nothing would be trained; -1 sets no limit")
    if args["val_check_interval"] == 0:
        raise UserError("trainer.val_check_interval is 0; for no validation use --trainer.limit_val_batches 0")
    if (precision := str(args["precision"])) in ("16-true", "bf16-true") or precision.startswith("transformer-engine"):
        raise UserError(
            f"--trainer.precision {precision}: weights need float32 or better, for their small updates; use 32-true, "
            "bf16-mixed, 16-mixed or 64-true"
        )
    gpus = _count_gpus(launch, args["accelerator"], args["devices"])
    devices = resolve_devices(launch, args["devices"], args["num_nodes"], args["strategy"], gpus)
    for name in ("limit_val_batches", "limit_train_batches"):
        value = args[name]
        # Each process would round the fraction of its own batches, some to none, and the others would wait for it.
        if devices.processes > 1 and isinstance(value, float) and value != int(value):
            raise UserError(
                f"trainer.{name} {value} is a fraction, which several processes would round differently; give a number"
            )
    return devices


def check_validation_size(data: InpaintingData, processes: int) -> None:
    """Check that every process gets a validation sample; one without would skip a collective call.

    Raises:
        UserError: there are fewer samples than processes.
    """
    if processes > 1 and (num_samples := len(cast(Any, data.val_dataloader()).dataset)) < processes:
        raise UserError(
            f"{processes} processes cannot share {num_samples} validation sample{'s' * (num_samples > 1)}; raise "
            "--data.val_crops, or use --trainer.limit_val_batches 0"
        )


def _count_gpus(launch: LaunchInfo, accelerator: object, devices: object) -> int | None:
    """Count the GPUs that this process sees, None where the run does not use them.

    Raises:
        UserError: devices are requested that do not exist; Lightning would start as many CPU processes instead.
    """
    if accelerator not in ("auto", "gpu", "cuda"):
        return None
    import torch

    requested, available = _count(devices) or 1, torch.cuda.device_count()
    if available == 0 and (accelerator != "auto" or requested > 1):
        raise UserError(
            f"this machine has no GPU that PyTorch can use, but --trainer.accelerator {accelerator} --trainer.devices "
            f"{devices} requests one; leave both out, or use --trainer.accelerator cpu --trainer.devices {requested}"
        )
    if available and requested > available and not launch.external:  # `resolve_devices` describes the external case better
        raise UserError(
            f"--trainer.devices {devices}: this machine has {available} GPU{'s' * (available > 1)}; request at most {available}"
        )
    return available or None


def resolve_devices(launch: LaunchInfo, devices: object, num_nodes: int, strategy: object, gpus: int | None) -> Devices:
    """Take nodes and devices from the Trainer's arguments, else from the launcher, and check that both agree.

    Args:
        launch: of this process.
        devices: `trainer.devices`; "auto" leaves the number open.
        num_nodes: `trainer.num_nodes`; 1 leaves the number open.
        strategy: `trainer.strategy`.
        gpus: GPUs that this process sees, None where the run does not use them.

    Raises:
        UserError: a contradiction, with its remedy.
    """
    requested = _count(devices)
    if not launch.external or launch.per_node is None:
        if num_nodes > 1 and not {"NODE_RANK", "GROUP_RANK"} & os.environ.keys():
            raise UserError(
                f"--trainer.num_nodes {num_nodes}, but nothing started this on other nodes; use torchrun --nnodes={num_nodes} "
                "or srun (experiments/cluster/), or leave num_nodes out"
            )
        return Devices(num_nodes, requested if requested is not None else gpus or 1)
    per_node, nodes = launch.per_node, launch.nodes
    srun = launch.launcher == "srun"
    per_node_option, nodes_option = ("--ntasks-per-node", "--nodes") if srun else ("--nproc-per-node", "--nnodes")
    if requested is not None and requested != per_node:
        raise UserError(
            f"--trainer.devices {_text(devices)}, but {launch.launcher} started {per_node} process{'es' * (per_node > 1)} per "
            f"node, and each device needs one: use {launch.launcher} {per_node_option}={requested}, or leave --trainer.devices "
            "out"
        )
    if num_nodes not in (1, nodes):
        raise UserError(
            f"--trainer.num_nodes {num_nodes}, but {launch.launcher} runs on {nodes} node{'s' * (nodes > 1)}: use "
            f"{launch.launcher} {nodes_option}={num_nodes}, or leave --trainer.num_nodes out"
        )
    if isinstance(strategy, str) and any(word in strategy for word in ("spawn", "fork", "notebook")):
        raise UserError(
            f"--trainer.strategy {strategy} starts processes itself, beside those of {launch.launcher}; use --trainer.strategy "
            "ddp or leave it out"
        )
    if gpus is not None and 0 < gpus < per_node:
        remedy = (
            f"request --gpus-per-node={per_node}, not --gpus-per-task or --gpu-bind, or use --ntasks-per-node={gpus}"
            if srun
            else f"use --nproc-per-node={gpus}"
        )
        raise UserError(
            f"{launch.launcher} started {per_node} processes per node, but each sees {gpus} GPU{'s' * (gpus > 1)} and needs to "
            f"see all of the node: {remedy}"
        )
    return Devices(nodes, per_node)


def _count(devices: object) -> int | None:
    """Count the devices that `trainer.devices` requests, None where it leaves the number open."""
    if isinstance(devices, list):
        return len(devices)
    text = str(devices)
    if "," in text:
        return len([part for part in text.split(",") if part.strip()])
    return int(text) if text.isdigit() else None


def _text(devices: object) -> str:
    return ",".join(map(str, devices)) if isinstance(devices, list) else str(devices)
