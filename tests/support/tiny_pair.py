"""Train tiny GANs in two processes, each with half of every batch, or in one with whole batches.

`python tests/support/tiny_pair.py FOLDER` trains the cases of FOLDER/cases.pt. Lightning starts a second process, as for every
script. The results of rank r are saved in FOLDER/<case>.<r>.pt.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import forked
import torch
from host_reads import CountInBatches, count_collectives
from lightning.pytorch import Callback
from tiny_gan import TinyGAN, loader, make_batches, make_tiny, make_trainer
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from lit_inpaint.callbacks import GeneratorEMA, NaNGuard, RunCheckpoint, ValidationMetrics
from lit_inpaint.cluster.checkpoint_on_signal import GracefulShutdown
from lit_inpaint.engine.sync_batchnorm import SyncBatchNorm
from lit_inpaint.settings import Adam, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms

STEPS = 10
WHOLE = 8  # samples in a batch of one process; each of two processes has half of them
PLAIN = Training(channels_last=False)
MICRO_BATCHES = Training(accumulate_generator=2, accumulate_discriminator=2, channels_last=False)
CLIPPED = Training(clip_generator=0.3, clip_discriminator=0.05, channels_last=False)

SIMULTANEOUS = (Stage(),)
ALTERNATING = (Stage(update="alternating"),)
THRICE = (Stage(update="alternating", d_steps=3),)
EVERY_THIRD = (Stage(update="alternating", generator_every=3),)
LEFTOVERS = (Stage(update="alternating", leftover_gradients=True),)
GENERATOR_FIRST = (Stage(update="generator_first"),)
ONLY_G = (Stage(discriminator=False),)
ONLY_D = (Stage(generator=False),)
WARM_UP = (Stage("warm-up", discriminator=False, iterations=4), Stage("together"))
FROZEN = (Stage(iterations=4), Stage(frozen=("generator.4", "discriminator.0")))
ORDERS = {
    "simultaneous": SIMULTANEOUS,
    "alternating": ALTERNATING,
    "alternating, D thrice": THRICE,
    "alternating, G every third batch": EVERY_THIRD,
    "alternating, leftover gradients": LEFTOVERS,
    "generator first": GENERATOR_FIRST,
    "generator first, recomputed": (Stage(update="generator_first", recompute=True),),
    "only G": ONLY_G,
    "only D": ONLY_D,
    "warm-up": WARM_UP,
    "frozen modules": FROZEN,
}


@dataclass(frozen=True)
class Case:
    """What is trained, and how.

    Attributes:
        stages: the stages.
        batch_norm: none, separate in each process ("own"), or over all processes ("shared").
        training: clipping and accumulation.
        precision: Lightning's name; float64, so that the orders of summation differ in the fifteenth digit only.
        validation: samples of a validation after every third batch, in batches of two; 0 for none.
        ema: decay of the EMA; None: no EMA.
        eps: of Adam, which turns the noise of a zero gradient into a step of the size noise / (noise + eps).
        count_all_reduces: count the reductions of gradients.
        penalty: the discriminator has an R1 gradient penalty, which differentiates twice.
        count_collectives: count all other collective calls in three batches, with the callbacks of `fit` that make them.
    """

    stages: tuple[Stage, ...] = SIMULTANEOUS
    batch_norm: Literal["none", "own", "shared"] = "none"
    training: Training = PLAIN
    precision: str = "64-true"
    validation: int = 0
    ema: float | None = None
    eps: float = 1e-8
    count_all_reduces: bool = False
    penalty: bool = False
    count_collectives: bool = False


class Penalized(TinyGAN):
    """The tiny paper with an R1 penalty, the mean squared gradient of the discriminator at real images."""

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        terms = dict(super().discriminator_losses(batch, prediction))
        image = batch["image"].clone().requires_grad_()
        assert self.discriminator is not None
        (gradient,) = torch.autograd.grad(self.discriminator(image).sum(), image, create_graph=True)
        real = cast(Tensor, terms["real"])
        return {**terms, "real": real + gradient.square().sum(dim=(1, 2, 3)).mean()}


@dataclass
class Recorder(Callback):
    """Record validations and DDP's settings in one process.

    Attributes:
        finds_unused: whether DDP searches for unused parameters.
        measured: metrics of each validation.
        counted: number of samples of each validation.
        networks: state at each validation; empty if it changed during the validation.
        all_reduces: number of reductions of gradients, if counted.
    """

    count_all_reduces: bool = False
    finds_unused: bool = False
    measured: list[dict[str, float]] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    networks: list[dict[str, Tensor]] = field(default_factory=list)
    all_reduces: int = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if isinstance(trainer.model, DistributedDataParallel):
            self.finds_unused = trainer.model.find_unused_parameters
            if self.count_all_reduces:
                trainer.model.register_comm_hook(None, self._all_reduce)

    def _all_reduce(self, state: Any, bucket):  # torch reads the annotations and refuses strings
        self.all_reduces += 1
        return allreduce_hook(torch.distributed.group.WORLD, bucket)

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *args: Any) -> None:
        network = {name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()}
        if batch_idx == 0:
            self.networks.append(network)
        elif difference(network, self.networks[-1]):
            self.networks[-1] = {}

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.measured.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        (validation_metrics,) = [callback for callback in trainer.callbacks if isinstance(callback, ValidationMetrics)]
        self.counted.append(validation_metrics.means.compute()["all", "psnr"].n)


def make_model(case: Case) -> TinyGAN:
    adam = {"generator": 1e-2, "discriminator": 2e-2}
    model = make_tiny(
        paper=Penalized if case.penalty else TinyGAN,
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


def samples_of_rank(batches: Iterable[Batch], rank: int, world: int) -> list[Batch]:
    """Return every `world`-th sample of each batch, so that micro-batches have the same samples in one process and in two."""
    return [
        Batch(image=batch["image"][rank::world], mask=batch["mask"][rank::world], name=list(batch["name"][rank::world]))
        for batch in batches
    ]


def validation(samples: int, rank: int, world: int) -> list[Batch]:
    """Return samples r, r + W, … of rank r in batches of two; of 5 samples, two processes get 2 batches and 1."""
    (whole,) = make_batches(1, size=16, samples=samples)
    (own,) = samples_of_rank([whole], rank, world)
    cuts = [slice(first, first + 2) for first in range(0, len(own["name"]), 2)]
    return [Batch(image=own["image"][cut], mask=own["mask"][cut], name=list(own["name"][cut])) for cut in cuts]


def fit(case: Case, world: int) -> dict[str, Any]:
    """Train a case and return its results."""
    recorder = Recorder(case.count_all_reduces)
    callbacks: list[Callback] = [] if case.ema is None else [GeneratorEMA(case.ema)]
    counter = CountInBatches(count_collectives)
    if case.count_collectives:
        checkpoint = RunCheckpoint(Path(tempfile.gettempdir()))  # asked to save nothing
        callbacks += [counter, NaNGuard(Path(tempfile.gettempdir())), GracefulShutdown(checkpoint)]
    trainer = make_trainer(
        STEPS,
        *callbacks,
        ValidationMetrics(losses=True),
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
    data = loader(samples_of_rank(make_batches(STEPS, samples=WHOLE), rank, world))
    trainer.fit(model, data, loader(validation(case.validation, rank, world)) if case.validation else None)
    return {
        "weights": model.state_dict(),
        "measured": recorder.measured,
        "counted": recorder.counted,
        "networks": recorder.networks,
        "finds_unused": recorder.finds_unused,
        "all_reduces": recorder.all_reduces,
        "collectives": dict(counter.found),
    }


def run_pair(folder: Path, script: str, timeout: float = 300) -> None:
    """Run a script that starts its second process itself; kill a pair that hangs and fail the test."""
    env = {name: value for name, value in os.environ.items() if name not in LAUNCH_VARIABLES}
    env |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = forked.run([script, str(folder)], env, processes=2, timeout=timeout)
    assert done.returncode == 0, done.stderr[-4000:]


LAUNCH_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT", "LIT_INPAINT_RUN_DIR")


def fit_pairs(folder: Path, cases: dict[str, Case]) -> Callable[[str], list[dict[str, Any]]]:
    """Train cases in one pair of processes; return a function from a case to the results of both processes."""
    torch.save(cases, folder / "cases.pt")
    run_pair(folder, __file__)
    return lambda name: [torch.load(folder / f"{name}.{rank}.pt", weights_only=False) for rank in (0, 1)]


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the max absolute difference over all tensors of two states."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    import tiny_pair  # the saved classes belong to that module, not to __main__

    for name, case in torch.load(here / "cases.pt", weights_only=False).items():
        found = tiny_pair.fit(case, 2)
        torch.save(found, here / f"{name}.{os.environ['LOCAL_RANK']}.pt")
    torch.distributed.destroy_process_group()
