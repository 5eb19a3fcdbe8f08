"""Time a training step of the engine and of a plain PyTorch loop with the same networks, losses and optimizers.

    python tests/benchmarks/engine_overhead.py [--steps 40] [--rounds 5] [--batch 16] [--size 64]

Measures each update order. Both run interleaved in one process, so that other load on the machine affects both alike; the
ratio is between medians over all steps of all rounds. The engine runs in the whole Lightning loop, with the callbacks of
`fit` that act on each batch (log, NaN guard), but without saving, validation and sample grids. "with EMA" does work that the
plain loop does not.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.nn.functional import l1_loss, softplus

from lit_inpaint.callbacks import GeneratorEMA, NaNGuard, TrainingLog
from lit_inpaint.config.entry_point import silence_warnings, tune_malloc
from lit_inpaint.papers import LPINet
from lit_inpaint.settings import Stage
from lit_inpaint.types import Batch


class Clock(Callback):
    """Record the seconds from the start of each batch to the start of the next."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, *args: object) -> None:
        self.starts.append(time.perf_counter())

    @property
    def steps(self) -> list[float]:
        return [b - a for a, b in pairwise(self.starts)]


class Plain:
    """The same training as a plain PyTorch loop."""

    def __init__(self) -> None:
        model = LPINet()
        model.configure_model()
        self.generator, self.discriminator = model.generator, model.discriminator
        self.optimizer_g, self.optimizer_d = model.configure_optimizers()

    def predict(self, batch: Batch) -> Tensor:
        image, mask = batch["image"], batch["mask"]
        return (self.generator(torch.cat([(2 * image - 1) * (1 - mask), mask], dim=1)) + 1) / 2

    def g_loss(self, batch: Batch, output: Tensor) -> Tensor:
        self.discriminator.requires_grad_(False)
        loss = l1_loss(output, batch["image"]) - softplus(self.discriminator(output)).mean()
        self.discriminator.requires_grad_(True)
        return loss

    def d_loss(self, batch: Batch, output: Tensor) -> Tensor:
        return softplus(-self.discriminator(batch["image"])).mean() + softplus(self.discriminator(output.detach())).mean()

    def simultaneous(self, batch: Batch) -> None:
        output = self.predict(batch)
        loss = self.g_loss(batch, output) + self.d_loss(batch, output)
        self.optimizer_g.zero_grad()
        self.optimizer_d.zero_grad()
        loss.backward()
        self.optimizer_g.step()
        self.optimizer_d.step()

    def update(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def alternating(self, batch: Batch) -> None:
        output = self.predict(batch)
        self.update(self.optimizer_d, self.d_loss(batch, output))
        self.update(self.optimizer_g, self.g_loss(batch, output))

    def generator_first(self, batch: Batch) -> None:
        output = self.predict(batch)
        self.update(self.optimizer_g, self.g_loss(batch, output))
        self.update(self.optimizer_d, self.d_loss(batch, output))

    def generator_only(self, batch: Batch) -> None:
        self.update(self.optimizer_g, self.g_loss(batch, self.predict(batch)))

    def time(self, step: Callable[[Batch], None], batches: list[Batch]) -> list[float]:
        starts = []
        for batch in batches:
            starts.append(time.perf_counter())
            step(batch)
        return [b - a for a, b in pairwise(starts)]


def engine(stage: Stage, batches: list[Batch], folder: Path, *extra: Callback) -> list[float]:
    """Train through Lightning and the engine; return the seconds of each step."""
    clock = Clock()
    trainer = Trainer(
        max_steps=len(batches),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*extra, TrainingLog(), NaNGuard(folder), clock],
    )
    trainer.fit(LPINet(stages=(stage,)), torch.utils.data.DataLoader(batches, batch_size=None))
    return clock.steps


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("--steps", 40), ("--rounds", 5), ("--batch", 16), ("--size", 64)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    silence_warnings()
    tune_malloc()
    torch.manual_seed(0)
    batches: list[Batch] = [
        {
            "image": torch.rand(options.batch, 3, options.size, options.size),
            "mask": (torch.rand(options.batch, 1, options.size, options.size) > 0.7).float(),
            "name": ["noise"] * options.batch,
        }
        for _ in range(options.steps)
    ]
    print(f"LPINet, batch {options.batch}, {options.size} px, {torch.get_num_threads()} threads, torch {torch.__version__}")
    folder = Path(tempfile.gettempdir()) / "engine_overhead"
    for name, step, stage in (
        ("simultaneous", Plain.simultaneous, Stage()),
        ("alternating", Plain.alternating, Stage(update="alternating")),
        ("generator first", Plain.generator_first, Stage(update="generator_first")),
        ("generator only", Plain.generator_only, Stage(discriminator=False)),
    ):
        times: dict[str, list[float]] = {"plain loop": [], "engine": [], "engine with EMA": []}
        for _ in range(options.rounds):
            plain = Plain()
            times["plain loop"] += plain.time(lambda batch, step=step, plain=plain: step(plain, batch), batches)[2:]
            times["engine"] += engine(stage, batches, folder)[2:]
            times["engine with EMA"] += engine(stage, batches, folder, GeneratorEMA(0.99))[2:]
        reference = statistics.median(times["plain loop"])
        for loop, steps in times.items():
            median = statistics.median(steps)
            print(f"{name:15} {loop:15} {median * 1e3:7.1f} ms (n = {len(steps)}), {median / reference:.3f} of the plain loop")


if __name__ == "__main__":
    main()
