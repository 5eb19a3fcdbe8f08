"""Tiny GANs fitted by two processes, each with its half of every batch, or by one with whole batches.

`python tests/tiny_pair.py FOLDER CASE …` starts a second process, as Lightning does for every script, and leaves what the
process of rank r ended with in FOLDER/<case>.<r>.pt.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from tiny_gan import TinyGAN, loader, make_batches, make_tiny, make_trainer
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from lit_inpaint.callbacks import GeneratorEMA, ValidationMetrics
from lit_inpaint.engine.sync_batchnorm import SyncBatchNorm
from lit_inpaint.settings import Adam, Stage, Training
from lit_inpaint.types import Batch

STEPS = 10
WHOLE = 8  # samples in a batch of one process; each of two processes has half of them
PLAIN = Training(channels_last=False)
IN_PARTS = Training(accumulate_generator=2, accumulate_discriminator=2, channels_last=False)
CLIPPED = Training(clip_generator=0.3, clip_discriminator=0.05, channels_last=False)

SIMULTANEOUS = (Stage(),)
ALTERNATING = (Stage(update="alternating"),)
THRICE = (Stage(update="alternating", d_steps=3),)
GENERATOR_FIRST = (Stage(update="generator_first"),)
ONLY_G = (Stage(discriminator=False),)
ONLY_D = (Stage(generator=False),)
WARM_UP = (Stage("warm-up", discriminator=False, iterations=4), Stage("together"))
FROZEN = (Stage(iterations=4), Stage(frozen=("generator.4", "discriminator.0")))
ORDERS = {
    "simultaneous": SIMULTANEOUS,
    "alternating": ALTERNATING,
    "alternating, D thrice": THRICE,
    "generator first": GENERATOR_FIRST,
    "only G": ONLY_G,
    "only D": ONLY_D,
    "warm-up": WARM_UP,
    "frozen parts": FROZEN,
}


@dataclass(frozen=True)
class Case:
    """What is fitted, and how.

    Attributes:
        stages: the stages.
        batch_norm: none; each process on its own; over the samples of all.
        training: clipping and accumulation.
        precision: Lightning's name; doubles, so that the orders of summation differ in the fifteenth digit only.
        validation: samples of a validation after every third batch, in batches of two; 0 for none.
        ema: decay of the average.
        eps: of Adam, which makes noise of a gradient that should be zero into a step of the size noise / (noise + eps).
    """

    stages: tuple[Stage, ...] = SIMULTANEOUS
    batch_norm: Literal["none", "own", "shared"] = "none"
    training: Training = PLAIN
    precision: str = "64-true"
    validation: int = 0
    ema: float | None = None
    eps: float = 1e-8
    count_exchanges: bool = False


@dataclass
class Recorder(Callback):
    """What a process of a pair holds and hears.

    Attributes:
        finds_unused: what DDP was told in the end.
        measured: at each validation.
        counted: samples of each validation.
        networks: as they were measured, one for each validation; an empty one would stand for a change in its course.
        exchanges: of gradients, if they are counted.
    """

    count_exchanges: bool = False
    finds_unused: bool = False
    measured: list[dict[str, float]] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    networks: list[dict[str, Tensor]] = field(default_factory=list)
    exchanges: int = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if isinstance(trainer.model, DistributedDataParallel):
            self.finds_unused = trainer.model.find_unused_parameters
            if self.count_exchanges:
                trainer.model.register_comm_hook(None, self._exchange)

    def _exchange(self, state: Any, bucket):  # torch reads the annotations, and takes no strings
        self.exchanges += 1
        return allreduce_hook(torch.distributed.group.WORLD, bucket)

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *args: Any) -> None:
        network = {name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()}
        if batch_idx == 0:
            self.networks.append(network)
        elif difference(network, self.networks[-1]):
            self.networks[-1] = {}

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.measured.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        (quality,) = [callback for callback in trainer.callbacks if isinstance(callback, ValidationMetrics)]
        self.counted.append(quality.tally.compute()["all", "psnr"].n)


def make_model(case: Case) -> TinyGAN:
    adam = {"generator": 1e-2, "discriminator": 2e-2}
    model = make_tiny(
        stages=case.stages,
        training=case.training,
        generator_optimizer=Adam(lr=adam["generator"], betas=(0.5, 0.9), eps=case.eps),
        discriminator_optimizer=Adam(lr=adam["discriminator"], betas=(0.0, 0.9), eps=case.eps),
    )
    assert model.discriminator is not None
    first, activation, last = model.discriminator
    if case.batch_norm == "none":
        model.generator[1] = nn.Identity()
    else:
        model.discriminator = nn.Sequential(first, nn.BatchNorm2d(4), activation, last)
    return model


def share(batches: Iterable[Batch], rank: int, world: int) -> list[Batch]:
    """A process's samples of each batch, in turn, so that the parts of a batch hold the same samples on one process and two."""
    return [
        Batch(image=batch["image"][rank::world], mask=batch["mask"][rank::world], name=list(batch["name"][rank::world]))
        for batch in batches
    ]


def validation(samples: int, rank: int, world: int) -> list[Batch]:
    """Samples r, r + W, … of rank r in batches of two: of an odd number, the processes hold different numbers of batches."""
    (whole,) = make_batches(1, size=16, samples=samples)
    (own,) = share([whole], rank, world)
    cuts = [slice(first, first + 2) for first in range(0, len(own["name"]), 2)]
    return [Batch(image=own["image"][cut], mask=own["mask"][cut], name=list(own["name"][cut])) for cut in cuts]


def fit(case: Case, world: int) -> dict[str, Any]:
    """Fit a case and say what came of it."""
    recorder = Recorder(case.count_exchanges)
    callbacks: list[Callback] = [] if case.ema is None else [GeneratorEMA(case.ema)]
    trainer = make_trainer(
        STEPS,
        *callbacks,
        ValidationMetrics(),
        recorder,
        devices=world,
        precision=case.precision,
        plugins=[SyncBatchNorm()] if case.batch_norm == "shared" else None,
        use_distributed_sampler=False,
        val_check_interval=3 if case.validation else None,
        check_val_every_n_epoch=None if case.validation else 1,
        limit_val_batches=None if case.validation else 0,
        num_sanity_val_steps=0,
    )
    rank = trainer.global_rank
    model = make_model(case)
    data = loader(share(make_batches(STEPS, samples=WHOLE), rank, world))
    trainer.fit(model, data, loader(validation(case.validation, rank, world)) if case.validation else None)
    average = trainer.callbacks[0].weights if case.ema is not None else {}
    return {
        "weights": model.state_dict(),
        "average": average,
        "measured": recorder.measured,
        "counted": recorder.counted,
        "networks": recorder.networks,
        "finds_unused": recorder.finds_unused,
        "exchanges": recorder.exchanges,
    }


def run_pair(folder: Path, script: str, *arguments: str, timeout: float = 100) -> None:
    """Run a script, which starts its second process by itself; a pair that hangs is ended and fails the test."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_PAIR}
    process = subprocess.Popen(
        [sys.executable, script, str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**environment, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )
    try:
        printed, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = process.communicate()
        raise AssertionError(f"two processes hang in {script} {arguments}:\n{printed}") from None
    assert process.returncode == 0, printed[-4000:]


OF_A_PAIR = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT", "LIT_INPAINT_RUN_DIR")


def fit_pairs(folder: Path, cases: dict[str, Case]) -> Callable[[str], list[dict[str, Any]]]:
    """Fit cases in one pair of processes; returns what gives both processes' results for a case."""
    torch.save(cases, folder / "cases.pt")
    run_pair(folder, __file__)
    return lambda name: [torch.load(folder / f"{name}.{rank}.pt", weights_only=False) for rank in (0, 1)]


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest, over all tensors of two states."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    import tiny_pair  # the classes in the file are that module's, not this script's

    for name, case in torch.load(here / "cases.pt", weights_only=False).items():
        found = tiny_pair.fit(case, 2)
        torch.save(found, here / f"{name}.{os.environ['LOCAL_RANK']}.pt")
    torch.distributed.destroy_process_group()
