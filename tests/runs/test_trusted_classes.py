"""A paper outside the package, in a module of the user's own, works through every command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

PAPER = '''
from dataclasses import dataclass

from torch import nn

from lit_inpaint.data import Folder
from lit_inpaint.engine import Inpainter
from lit_inpaint.masks import Center
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Prediction


@dataclass(frozen=True)
class Weights:
    l1: float = 1.0


@dataclass(frozen=True)
class OwnMask(Center):
    """A mask source of the user."""


class OwnData(Folder):
    """A data module of the user."""


class OwnPaper(Inpainter):
    def __init__(
        self,
        width: int = 8,
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=1e-3),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, None, training)
        self.generator = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1))
        self.discriminator = None

    def stages(self):
        return (Stage("only", discriminator=False),)

    def forward(self, image, mask):
        return Prediction(self.generator(image * (1 - mask)))

    def generator_losses(self, batch, prediction):
        return {"l1": (prediction.image - batch["image"]).abs().mean()}
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained batches of the user's paper, on the user's data and masks, in a folder of the user."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_module.py").write_text(PAPER)
    for name in ("train", "val"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(2):
            pixels = torch.randint(256, (40, 40, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    mask = {"class_path": "own_module.OwnMask", "init_args": {"size": 12}}
    settings = {
        "model": {"class_path": "own_module.OwnPaper", "init_args": {"width": 4}},
        "data": {
            "class_path": "own_module.OwnData",
            "init_args": {"root": "images", "size": 32, "batch_size": 2, "workers": 0, "val_masks": [mask]},
        },
        "trainer": {"max_steps": 2, "val_check_interval": 2, "enable_progress_bar": False},
        "wandb": {"mode": "disabled"},
        "ema": 0.9,
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(settings))
    done = command(folder, "fit", "--experiment", "own.yaml", "--run_dir", "run")
    assert done.returncode == 0, done.stderr
    return folder


def command(folder: Path, name: str, *options: str, trusted: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LIT_INPAINT_PAPERS": trusted, "CUDA_VISIBLE_DEVICES": ""}
    line = [sys.executable, "-m", f"lit_inpaint.{name}", *options]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)


CHECKPOINT = "run/checkpoints/last.ckpt"


@pytest.mark.xdist_group("own paper")
def test_resume_and_evaluate_with_the_experiment(folder: Path) -> None:
    resumed = command(folder, "fit", "--experiment", "own.yaml", "--run_dir", "run", "--trainer.max_steps", "3")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed at step 2" in resumed.stdout
    evaluated = command(folder, "evaluate", "--checkpoint", CHECKPOINT, "--experiment", "own.yaml")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "OwnPaper" in evaluated.stdout


@pytest.mark.xdist_group("own paper")
def test_other_commands_need_the_variable(folder: Path) -> None:
    mask = Image.new("L", (40, 40))
    mask.paste(255, (10, 10, 20, 20))
    mask.save(folder / "mask.png")
    inpaint = ("inpaint", "--checkpoint", CHECKPOINT, "--images", "images/val", "--masks", "mask.png", "--output", "done")
    refused = command(folder, *inpaint)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: {CHECKPOINT} names own_module.OwnPaper, which is not of lit_inpaint; nothing of it was imported. If you trust "
        "that code: LIT_INPAINT_PAPERS=own_module before the command\n"
    )
    assert not (folder / "done").exists()
    for options in (inpaint, ("evaluate", "--checkpoint", CHECKPOINT)):
        done = command(folder, *options, trusted="other, own_module")
        assert done.returncode == 0, done.stderr
