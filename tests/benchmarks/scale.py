"""Compute from measured numbers what several GPUs would give: bytes that they exchange, efficiency, loader cores, evaluation.

    python tests/benchmarks/scale.py [--results results.json] [--loader 1319] [--node 300] [--network 25]

Parameters, update orders and batch norms are those of the papers. Images per second of one GPU are those of `tests/gpu/run.sh`
(`--results`; without it, of the table in README.md: one H200, 64x64, 64 images, bf16). Samples per second of a loader's core
are those of `loader.py`. Bandwidths in GB/s of each GPU are assumed, not measured: NVLink within a node of eight, and
InfiniBand between nodes. The efficiency is a lower bound: no exchange overlaps the backward pass, though DDP's does.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "gpu"))
from training import build, longest_stage, paper_names

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.engine.training_stages import StageSchedule
from lit_inpaint.settings import Stage

MEASURED = {  # images per second of one H200 in bf16, and the faster of the other precisions where that was refused or slower
    "DeepFillV2": 1485.0,
    "DeepGIN": 361.0,
    "EdgeConnect": 382.0,
    "GLCIC": 1644.0,
    "LPINet": 2869.0,
    "LaMa": 610.0,
    "PConv": 1707.0,
    "PEPSI": 1613.0,
    "UNet": 5594.0,
    "WaveMix": 622.0,
}
BATCH = 64
FEATURES = 2048
NODE = 8


def backward_passes(stage: Stage) -> float:
    """Return the backward passes of a batch, each of which exchanges the gradients of both players under DDP."""
    if stage.update == "simultaneous" or len(stage.players) == 1:
        return stage.d_steps if not stage.generator else 1
    if stage.update == "alternating":
        return stage.d_steps + 1 / stage.generator_every
    return 2


def exchanged_bytes(model: Inpainter, stage: Stage) -> tuple[float, float]:
    """Return the bytes per batch of gradients, and of batch-norm statistics with `sync_batchnorm`."""
    players = [network for network in (model.generator, model.discriminator) if network is not None]
    gradients = 4 * sum(parameter.numel() for network in players for parameter in network.parameters())
    channels = sum(layer.num_features for layer in model.modules() if isinstance(layer, _BatchNorm))
    return backward_passes(stage) * gradients, 4.0 * (2 * channels + 2 * channels)  # forward: mean and variance; backward: two


def all_reduce_seconds(size: float, gpus: int, node: float, network: float) -> float:
    """Return the time of a ring all-reduce of `size` bytes; the slowest link decides."""
    bandwidth = node if gpus <= NODE else network
    return 2 * (gpus - 1) / gpus * size / (bandwidth * 1e9)


def speeds(path: Path | None) -> dict[str, float]:
    """Return images per second of one GPU by paper."""
    if path is None:
        return MEASURED
    found: dict[str, Any] = json.loads(path.read_text())["results"]
    return {
        name.split("/")[1]: max(
            value["images_per_second"] for value in result.values() if isinstance(value, dict) and "images_per_second" in value
        )
        for name, result in found.items()
        if name.startswith("train/") and name.endswith("/64")
    }


def main(argv: list[str]) -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="of tests/gpu/run.sh")
    parser.add_argument("--loader", type=float, default=1319, help="samples per second of one core")
    parser.add_argument("--node", type=float, default=300, help="GB/s of a GPU within a node")
    parser.add_argument("--network", type=float, default=25, help="GB/s of a GPU between nodes")
    parser.add_argument("--gpus", type=int, nargs="+", default=[2, 8, 32])
    options = parser.parse_args(argv)
    measured = speeds(options.results)
    counts = " | ".join(f"efficiency on {gpus}" for gpus in options.gpus)
    print(
        f"| paper | update order | MB per batch: gradients | statistics | images/s of a GPU | loader cores per GPU | {counts} |"
    )
    print("|---" * (6 + len(options.gpus)) + "|")
    for name in paper_names():
        with torch.device("meta"):
            model = build(name, 64)
        stage = StageSchedule(model.stages(), 1000).at(longest_stage(model)).stage
        gradients, statistics = exchanged_bytes(model, stage)
        cells = [name, _describe(stage), f"{gradients / 1e6:.1f}", f"{statistics / 1e6:.2f}" if statistics else "none"]
        if name in measured:
            step = BATCH / measured[name]
            rows = [all_reduce_seconds(gradients + statistics, gpus, options.node, options.network) for gpus in options.gpus]
            cells += [f"{measured[name]:,.0f}", f"{math.ceil(10 * measured[name] / options.loader) / 10:.1f}"]
            cells += [f"{step / (step + seconds):.2f}" for seconds in rows]
        else:
            cells += ["not measured"] + [""] * (1 + len(options.gpus))
        print("| " + " | ".join(cells) + " |")
    exchanged = 2 * 8 * (FEATURES + FEATURES**2 + 1)
    exchange = 1e3 * all_reduce_seconds(exchanged, NODE, options.node, options.network)
    print(
        "\nEvaluation on N processes: each has ceil(images / N) images with all their masks. FID exchanges "
        f"{exchanged / 1e6:.0f} MB once for each method, {exchange:.1f} ms on {NODE} GPUs; its eigenvalues are computed in "
        "every process, which N does not shorten."
    )


def _describe(stage: Stage) -> str:
    if len(stage.players) == 1:
        return f"{stage.players[0]} only"
    if stage.d_steps > 1:
        return f"{stage.update}, D {stage.d_steps} times"
    return stage.update + (f", G every {stage.generator_every}" if stage.generator_every > 1 else "")


if __name__ == "__main__":
    main(sys.argv[1:])
