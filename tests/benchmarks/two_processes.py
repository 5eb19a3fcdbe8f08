"""Measure how training on two processes scales on CPUs, beside plain PyTorch DDP with the same networks and losses.

    OMP_NUM_THREADS=1 python tests/benchmarks/two_processes.py [--experiments pconv unet pepsi] [--rounds 2] [--steps 6]

A number is processor time per image, which does not depend on what else the machine does; waiting costs none. The scaling is
the time of one process over that of two: 1 if the second process is worth as much as the first. Both engines train
`benchmark/<experiment>` at 64x64 with 16 images a process and one thread each, over gloo, with the callbacks of `fit` that act
on each batch. The batch is made here, and PConv has no losses on VGG-16 features. "ours, own batch norm" is
`--trainer.sync_batchnorm false`, which plain DDP has too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "gpu"))
from training import _quiet_lightning, make_batch

from lit_inpaint.callbacks import NaNGuard, TrainingLog
from lit_inpaint.config.check_settings import build, check
from lit_inpaint.config.entry_point import silence_warnings, tune_malloc
from lit_inpaint.config.load_yaml import load_experiment, override
from lit_inpaint.engine.freezing import frozen
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.engine.sync_batchnorm import SyncBatchNorm
from lit_inpaint.settings import Adam
from lit_inpaint.types import Batch

WARM = 2
ENGINES = ("plain DDP", "ours", "ours, own batch norm")
WITHOUT_FILES = {"pconv": ["--model.weights.perceptual=0", "--model.weights.style=0"]}


class Clock(Callback):
    """Takes this process's processor time after each batch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.times.append(time.process_time())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.times.append(time.process_time())


def ours(model: Inpainter, batch: Batch, steps: int, world: int, synchronized: bool) -> float:
    """Train through Lightning and the engine; return seconds of processor time per step."""
    clock = Clock()
    with _quiet_lightning():
        trainer = Trainer(
            accelerator="cpu",
            devices=world,
            strategy="ddp" if world > 1 else "auto",
            max_steps=steps + WARM,
            max_epochs=-1,
            logger=False,
            callbacks=[TrainingLog(), NaNGuard(Path(tempfile.gettempdir()) / "nan"), clock],
            plugins=[SyncBatchNorm()] if synchronized else None,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=tempfile.gettempdir(),
        )
        trainer.fit(model, DataLoader(cast(Any, [batch] * (steps + WARM)), batch_size=None))
    return (clock.times[-1] - clock.times[WARM]) / steps


class Losses(nn.Module):
    """The weighted losses of both players in one forward, as DDP expects."""

    def __init__(self, paper: Inpainter) -> None:
        super().__init__()
        self.paper = paper
        self.players = paper.stages()[0].players

    def forward(self, batch: Batch) -> Tensor:
        prediction = self.paper.training_forward(batch)
        total = torch.zeros(())
        for player in self.players:
            if player == "generator":
                with frozen(self.paper.discriminator):
                    terms = self.paper.generator_losses(batch, prediction)
            else:
                terms = self.paper.discriminator_losses(batch, prediction.detach())
            for name, term in terms.items():
                weight = getattr(self.paper.weights, name)
                if not isinstance(weight, int | float):
                    weight = 1.0
                if weight:
                    total = total + weight * (term() if callable(term) else term)
        return total


def plain(model: Inpainter, batch: Batch, steps: int, world: int) -> float:
    """Train in a loop of plain PyTorch; return seconds of processor time per step."""
    model.configure_model()
    losses: nn.Module = Losses(model).train()
    if world > 1:
        torch.distributed.init_process_group("gloo")
        losses = DistributedDataParallel(losses)
    networks = [model.generator, model.discriminator]
    optimizers = [torch.optim.Adam(network.parameters(), 1e-3) for network in networks if network is not None]
    begin = 0.0
    for step in range(steps + WARM):
        if step == WARM:
            begin = time.process_time()
        for optimizer in optimizers:
            optimizer.zero_grad()
        losses(batch).backward()
        for optimizer in optimizers:
            optimizer.step()
    return (time.process_time() - begin) / steps


def train(pipe: Connection, engine: str, experiment: str, steps: int, images: int, environment: dict[str, str]) -> None:
    """Train in this process and send its seconds per step."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    silence_warnings()
    tune_malloc()
    world = int(environment.get("WORLD_SIZE", "1"))
    config = override(load_experiment(f"benchmark/{experiment}"), WITHOUT_FILES.get(experiment, []))
    torch.manual_seed(0)
    model = cast(Inpainter, build(check(config)).model)
    model.generator_optimizer = model.discriminator_optimizer = Adam(lr=1e-3)
    model._stages = tuple(stage for stage in model.stages())[:1]
    batch = make_batch(64, images, "cpu", model)
    pipe.send(
        plain(model, batch, steps, world) if engine == "plain DDP" else ours(model, batch, steps, world, engine == "ours")
    )
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def free_port() -> str:
    """Return a port that nothing uses now."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return str(opened.getsockname()[1])


def launch(engine: str, experiment: str, world: int, steps: int, images: int) -> float:
    """Train on `world` processes; return the mean of their seconds of processor time per image of their own."""
    context = multiprocessing.get_context("fork")
    port, processes, pipes = free_port(), [], []
    for rank in range(world):
        environment = {} if world == 1 else {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
        environment |= {} if world == 1 else {"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
        ours_end, other_end = context.Pipe()
        processes.append(context.Process(target=train, args=(other_end, engine, experiment, steps, images, environment)))
        processes[-1].start()
        other_end.close()
        pipes.append(ours_end)
    seconds = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return sum(seconds) / world / images


def noise(rounds: int = 5) -> Iterator[float]:
    """Yield the processor time of a fixed convolution, whose spread is that of the machine."""
    x, layer = torch.randn(4, 64, 64, 64), nn.Conv2d(64, 64, 3, padding=1)
    for _ in range(rounds):
        begin = time.process_time()
        with torch.no_grad():
            for _ in range(10):
                layer(x)
        yield time.process_time() - begin


def main(argv: list[str]) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", nargs="+", default=["pconv", "unet", "pepsi"])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--images", type=int, default=16)
    options = parser.parse_args(argv)
    for experiment in options.experiments:
        times: dict[tuple[str, int], list[float]] = {}
        for _ in range(options.rounds):
            for engine in options.engines:
                for world in (1, 2):
                    seconds = launch(engine, experiment, world, options.steps, options.images)
                    times.setdefault((engine, world), []).append(seconds)
        for engine in options.engines:
            one, two = times[engine, 1], times[engine, 2]
            scaling = [a / b for a, b in zip(one, two, strict=True)]
            print(
                f"{experiment:10} {engine:22} {1e3 * statistics.median(one):7.2f} ms on one, "
                f"{1e3 * statistics.median(two):7.2f} ms on two; {1 / statistics.median(one):6.1f} and "
                f"{2 / statistics.median(two):6.1f} images/s, scaling {statistics.median(scaling):.2f} "
                f"({', '.join(f'{ratio:.2f}' for ratio in scaling)})",
                flush=True,
            )
    torch.set_num_threads(1)
    convolutions = list(noise())
    print(f"noise: a fixed convolution took {min(convolutions):.3f} to {max(convolutions):.3f} s of processor time")


if __name__ == "__main__":
    main(sys.argv[1:])
