"""Overfit the papers of experiments/benchmark on one batch, or time their training steps.

    python tests/benchmarks/one_batch.py overfit --images DIR [--steps 500] [--samples 4] [--size 64] [--papers A …]
    python tests/benchmarks/one_batch.py time    --images DIR [--steps 10] [--rounds 3] [--samples 16]

Networks, losses and optimizers are those of experiments/benchmark/<paper>.yaml; learning rates fall from 1e-3 to 0 as there.
The batch holds the first images of the folder, cropped to squares and resized, all with the same hole: the central quarter of
the area.

"overfit" prints the PSNR of the composites over the whole image, averaged over the batch, in evaluation mode. Options change
the settings of the papers: `--papers lpi_net --model.weights.adversarial 0` shows how well the network fits without one of
its losses. "time" runs the papers interleaved in one process, so that other load on the machine affects all of them alike; it
prints medians over all steps, and, with one paper, by how much its steps make the process grow. Names such as networks/pconv
stand for the files of that folder.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from lit_inpaint.config.check_settings import build, check
from lit_inpaint.config.entry_point import silence_warnings, tune_malloc
from lit_inpaint.config.load_yaml import load_experiment, override
from lit_inpaint.data import ResizedCenterCrop, read_image
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.metrics import psnr
from lit_inpaint.types import Batch

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmark"
FILES = [path for path in FOLDER.rglob("*.yaml") if path.stem not in ("defaults", "shipped")]
NAMES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FILES)
PAPERS = [name for name in NAMES if "/" not in name and name != "context_encoder"]
REPORTED = (100, 200, 300, 400, 500)


class Recorder(Callback):
    """Record the PSNR at the steps of REPORTED, and the start time of each step."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.psnr: dict[int, float] = {}
        self.starts: list[float] = []

    def on_train_batch_start(self, *args: object) -> None:
        self.starts.append(time.perf_counter())

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        if trainer.global_step in REPORTED or trainer.global_step == trainer.max_steps:
            assert isinstance(pl_module, Inpainter)
            pl_module.eval()
            completed = pl_module.complete(self.batch["image"], self.batch["mask"])
            pl_module.train()
            self.psnr[trainer.global_step] = float(psnr(completed, self.batch["image"]).mean())


def make(paper: str, settings: Sequence[str] = ()) -> Inpainter:
    config = load_experiment(f"benchmark/{paper}")
    arguments = config["model"]["init_args"]
    if paper == "deepgin":  # only the stage with both players: the warm-up is for long runs
        arguments["stages"] = [{key: value for key, value in arguments["stages"][-1].items() if key != "iterations"}]
    if paper == "pconv":  # without VGG's weights
        arguments["weights"] = {"perceptual": 0.0, "style": 0.0}
    checked = check(override(config, settings))
    model: Inpainter = build(Namespace(model=checked.model)).model
    return model


def load(folder: Path, samples: int, size: int) -> Batch:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:samples]
    if len(files) < samples:
        raise SystemExit(f"{folder} holds {len(files)} images (jpg, png), {samples} are needed")
    images = torch.stack([ResizedCenterCrop()(read_image(file), size, torch.Generator()) for file in files]).float() / 255
    mask = torch.zeros(samples, 1, size, size)
    mask[..., size // 4 : -(size // 4), size // 4 : -(size // 4)] = 1
    return Batch(image=images, mask=mask, name=[file.name for file in files])


def train(model: Inpainter, batch: Batch, steps: int) -> Recorder:
    recorder = Recorder(batch)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        callbacks=[recorder],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader([batch] * steps, batch_size=None))
    return recorder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("overfit", "time"))
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--papers", nargs="+", choices=NAMES, default=PAPERS)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options, settings = parser.parse_known_args()
    silence_warnings()
    tune_malloc()
    overfit = options.mode == "overfit"
    steps = options.steps or (500 if overfit else 10)
    batch = load(options.images, options.samples or (4 if overfit else 16), options.size)
    images = f"{len(batch['name'])} images of {options.size}x{options.size}"
    print(f"{images}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if overfit:
        for paper in options.papers:
            torch.manual_seed(0)
            model = make(paper, settings)
            psnr_at = train(model, batch, steps).psnr
            print(f"{paper:22}" + "".join(f"  {step}: {value:5.2f} dB" for step, value in psnr_at.items()), flush=True)
        return
    before = peak()
    seconds: dict[str, list[float]] = {paper: [] for paper in options.papers}
    for _ in range(options.rounds):
        for paper, times in seconds.items():
            starts = train(make(paper, settings), batch, steps + 3).starts
            times += [b - a for a, b in pairwise(starts)][2:]
    for paper, times in seconds.items():
        parameters = sum(p.numel() for p in make(paper).generator.parameters())
        print(f"{paper:22} {parameters:>12,} parameters  {statistics.median(times):.3f} s a step (n = {len(times)})")
    if len(seconds) == 1:
        print(f"the process grew by {peak() - before:.0f} MiB")


def peak() -> float:
    """Return the largest resident set so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
