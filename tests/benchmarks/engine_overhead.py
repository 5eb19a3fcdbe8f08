"""What the engine costs per step over a plain PyTorch loop of the same networks, losses and optimizers.

    python tests/benchmarks/engine_overhead.py [--steps 40] [--rounds 5] [--batch 16] [--size 64]

Both run in turn in one process, so that a slow moment of the machine meets both; the ratio is of medians over all steps of all
rounds. The engine's side is the whole Lightning loop, with the callbacks of `fit` that act on each batch, but without saving,
validation and drawing.
"""

import argparse
import statistics
import time
from itertools import pairwise

import torch
from lightning.pytorch import Callback, Trainer
from torch.nn.functional import l1_loss, softplus

from lit_inpaint.callbacks import GeneratorEMA, TrainingLog
from lit_inpaint.cli import keep_freed_memory, quieten
from lit_inpaint.papers import LPINet
from lit_inpaint.types import Batch


class Clock(Callback):
    """Time from the start of one batch to the start of the next, in seconds."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, *args: object) -> None:
        self.starts.append(time.perf_counter())

    @property
    def steps(self) -> list[float]:
        return [b - a for a, b in pairwise(self.starts)]


def plain(model: LPINet, batches: list[Batch]) -> list[float]:
    """The same training by hand."""
    model.configure_model()
    generator, discriminator = model.generator, model.discriminator
    optimizers = model.configure_optimizers()
    starts = []
    for batch in batches:
        starts.append(time.perf_counter())
        image, mask = batch["image"], batch["mask"]
        output = (generator(torch.cat([(2 * image - 1) * (1 - mask), mask], dim=1)) + 1) / 2
        for parameter in discriminator.parameters():
            parameter.requires_grad_(False)
        loss = l1_loss(output, image) - softplus(discriminator(output)).mean()
        for parameter in discriminator.parameters():
            parameter.requires_grad_(True)
        loss = loss + softplus(-discriminator(image)).mean() + softplus(discriminator(output.detach())).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    return [b - a for a, b in pairwise(starts)]


def engine(model: LPINet, batches: list[Batch], ema: bool) -> list[float]:
    """Training through Lightning and the engine."""
    clock = Clock()
    trainer = Trainer(
        max_steps=len(batches),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*([GeneratorEMA(0.99)] if ema else []), TrainingLog(), clock],
    )
    trainer.fit(model, torch.utils.data.DataLoader(batches, batch_size=None))
    return clock.steps


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("--steps", 40), ("--rounds", 5), ("--batch", 16), ("--size", 64)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    quieten()
    keep_freed_memory()
    torch.manual_seed(0)
    batches: list[Batch] = [
        {
            "image": torch.rand(options.batch, 3, options.size, options.size),
            "mask": (torch.rand(options.batch, 1, options.size, options.size) > 0.7).float(),
            "name": ["noise"] * options.batch,
        }
        for _ in range(options.steps)
    ]
    times: dict[str, list[float]] = {"plain loop": [], "engine": [], "engine with EMA": []}
    for _ in range(options.rounds):
        times["plain loop"] += plain(LPINet(), batches)[2:]
        times["engine"] += engine(LPINet(), batches, ema=False)[2:]
        times["engine with EMA"] += engine(LPINet(), batches, ema=True)[2:]
    reference = statistics.median(times["plain loop"])
    print(f"LPINet, batch {options.batch}, {options.size} px, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, steps in times.items():
        median = statistics.median(steps)
        print(f"{name:16} median {median * 1e3:7.1f} ms a step (n = {len(steps)}), {median / reference:.3f} of the plain loop")


if __name__ == "__main__":
    main()
