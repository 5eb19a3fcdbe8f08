"""Store the losses of a paper's first 20 steps as JSON, to detect changes of behavior.

    python tests/papers/golden.py --write

Run it after an intended change of the curve, and give the reason in the commit. The weights come from a fixed seed, images and
masks from formulas. All in double precision: in single, 20 steps of a GAN blow the rounding of another machine, or of
another number of threads, up to a part in a thousand and more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from lit_inpaint import papers
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.papers import edgeconnect
from lit_inpaint.papers.glcic import STAGES
from lit_inpaint.papers.lama import Weights as LaMaWeights
from lit_inpaint.settings import Adadelta, Adam, Stage
from lit_inpaint.types import Batch

FOLDER = Path(__file__).parent / "golden"
DEEPGIN = (
    Stage(
        "warm-up", discriminator=False, iterations=4, weights=dict.fromkeys(("adversarial", "perceptual", "style", "tv"), 0.0)
    ),
    Stage("main", update="generator_first", fresh_optimizers=True),
)
NO_VGG = {"perceptual": 0.0, "style": 0.0}
EDGECONNECT = tuple(  # VGG-19 in double precision takes most of the time: for two steps
    replace(stage, iterations=length, weights=weights, generator_optimizer=None, discriminator_optimizer=None)
    for stage, length, weights in zip(edgeconnect.STAGES, (6, 2, 6, 6), ({}, {}, NO_VGG, NO_VGG), strict=True)
)
GLCIC = tuple(replace(stage, iterations=length) for stage, length in zip(STAGES, (6, 4, 10), strict=True))
CURVES: dict[str, Callable[[], Inpainter]] = {
    "deepfill_v1": partial(
        papers.DeepFillV1,
        size=32,
        local_size=16,
        width=8,
        discriminator_width=8,
        stages=(Stage("adversarial", update="alternating", generator_every=2),),
    ),
    "deepfill_v2": partial(
        papers.DeepFillV2,
        width=8,
        discriminator_width=8,
        generator_optimizer=Adam(lr=1e-3, betas=(0.5, 0.999)),  # at a tenth, nothing moves in so few steps
    ),
    "context_encoder": partial(papers.ContextEncoder, size=32, overlap=2, width=4, bottleneck=16, discriminator_width=4),
    "deepgin": partial(
        papers.DeepGIN,
        width=4,
        discriminator_width=4,
        variant="paper",
        vgg="random",
        generator_optimizer=Adam(lr=1e-3, betas=(0.5, 0.999)),  # at a tenth, nothing moves in so few steps
        stages=DEEPGIN,
    ),
    "edgeconnect": partial(
        papers.EdgeConnect,
        width=4,
        discriminator_width=4,
        vgg="random",
        generator_optimizer=Adam(lr=1e-3, betas=(0.0, 0.9)),
        discriminator_optimizer=Adam(lr=1e-4, betas=(0.0, 0.9)),
        stages=EDGECONNECT,
    ),
    "glcic": partial(
        papers.GLCIC,
        variant="paper",
        size=32,
        local_size=16,
        global_layers=3,  # with five, batch norm of the two values in a 1x1 map would amplify rounding
        local_layers=2,
        width=4,
        discriminator_width=4,
        features=16,
        generator_optimizer=Adadelta(lr=0.1),  # at 1, twenty steps amplify rounding to a part in a hundred
        discriminator_optimizer=Adadelta(lr=0.1),
        stages=GLCIC,
    ),
    "lama": partial(
        papers.LaMa,
        blocks=2,
        width=4,
        discriminator_width=4,
        weights=LaMaWeights(hole=1.0, segmentation_perceptual=0.0),  # a ResNet-50 in double precision takes most of 10 s
    ),
    "lpi_net": papers.LPINet,
    "pconv": partial(papers.PConv, levels=4, width=8, vgg="random"),
    "pepsi": partial(papers.PEPSI, size=32, width=4, discriminator_width=8),
    "residual_unet": partial(papers.ResidualUNet, widths=(8, 12, 16)),
    "unet": partial(papers.UNet, widths=(8, 12, 16)),
    "wavemix": partial(papers.WaveMix, modules=2, blocks=2, dimension=16, dropout=0.0),
}
CENTER_ONLY = {"context_encoder"}
"""Papers that refuse holes outside the central half of each side."""
STEPS, SIZE, SAMPLES = 20, 32, 2

Curve = dict[str, list[float]]


def measure(name: str) -> Curve:
    """Train the paper for 20 steps on 32x32 waves; the loss terms and totals by name, one value for each step."""
    torch.manual_seed(0)
    model: Inpainter = CURVES[name]()
    curve = _Curve()
    trainer = Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        precision="64-true",
        callbacks=[curve],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader([fit_masks(name, _batch(number)) for number in range(STEPS)], batch_size=None))
    return curve.values


def read(name: str) -> Curve:
    """Read the stored curve."""
    curve: Curve = json.loads((FOLDER / f"{name}.json").read_text())["losses"]
    return curve


def fit_masks(name: str, batch: Batch) -> Batch:
    """Return the batch with masks that the paper takes."""
    if name not in CENTER_ONLY:
        return batch
    height, width = batch["mask"].shape[-2:]
    center = torch.zeros_like(batch["mask"])
    center[..., height // 4 : -(height // 4), width // 4 : -(width // 4)] = 1
    return {**batch, "mask": batch["mask"] * center}


def _batch(number: int) -> Batch:
    """Make two images of waves, each with a square hole; another pair for each step."""
    y, x = torch.meshgrid(*[torch.linspace(0, 1, SIZE, dtype=torch.float64)] * 2, indexing="ij")
    images, masks = [], []
    for sample in range(SAMPLES):
        k = number * SAMPLES + sample
        images.append(torch.stack([0.5 + 0.5 * torch.sin((3 + k % 5) * x + (1 + k % 3) * y * (c + 1) + k) for c in range(3)]))
        mask = torch.zeros(1, SIZE, SIZE)
        mask[:, 4 + k % 8 : 20 + k % 8, 3 + k % 7 : 17 + k % 7] = 1
        masks.append(mask)
    names = [f"{number}/{sample}" for sample in range(SAMPLES)]
    return Batch(image=torch.stack(images), mask=torch.stack(masks), name=names)


class _Curve(Callback):
    def __init__(self) -> None:
        self.values: Curve = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name, value in outputs.items():
            self.values.setdefault(name, []).append(float(value))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the stored curves")
    parser.add_argument("names", nargs="*", default=list(CURVES), help="papers (default: all)")
    options = parser.parse_args(argv)
    for name in options.names:
        curve = measure(name)
        path = FOLDER / f"{name}.json"
        if options.write:
            path.parent.mkdir(exist_ok=True)
            metadata = {"torch": str(torch.__version__), "steps": STEPS, "size": SIZE, "samples": SAMPLES}
            rounded = {term: [float(f"{value:.7g}") for value in values] for term, values in curve.items()}
            path.write_text(json.dumps({**metadata, "losses": rounded}, indent=1) + "\n")
            print(f"wrote {path}")
        for term, values in curve.items():
            print(f"{name:12} {term:14} {values[0]:.5f} -> {values[-1]:.5f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
