"""A paper outside the package, in a module of the user's own, works through every command."""

import csv
import json
import os
from pathlib import Path
from subprocess import CompletedProcess

import forked
import pytest
import torch
import yaml
from PIL import Image

from lit_inpaint.errors import UserError
from lit_inpaint.metrics import load_metrics

PAPER = '''
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn

from lit_inpaint.callbacks import log
from lit_inpaint.data import Folder
from lit_inpaint.engine import Inpainter
from lit_inpaint.masks import Center
from lit_inpaint.metrics import DistributionMetric, Metric, l1
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Prediction


@dataclass(frozen=True)
class Weights:
    l1: float = 1.0


@dataclass(frozen=True)
class OwnMask(Center):
    """A mask source of the user."""


class OwnCallback(Callback):
    def __init__(self, number: int = 1) -> None:
        self.number = number

    def on_validation_epoch_end(self, trainer, pl_module) -> None:
        pl_module.log("own/number", float(self.number))  # Lightning counts steps from 0
        log(trainer, {"own/twice": 2.0 * self.number})

    def state_dict(self):
        return {"number": self.number}


class OwnLogger(DummyLogger):
    """A logger of the user, into a text file."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def _write(self, line: str) -> None:
        with Path(self.file).open("a") as file:
            file.write(line + "\\n")

    def log_hyperparams(self, params, *args, **kwargs) -> None:
        self._write(f"width {params['model']['init_args']['width']}")

    def log_metrics(self, metrics, step=None) -> None:
        self._write(f"{step} {' '.join(sorted(metrics))}")


BLUE = Metric("blue", lambda prediction, target: l1(prediction[:, 2:], target[:, 2:]), unit="%", higher_is_better=False)


class OwnSetMetric(DistributionMetric):
    """The number of completions."""

    def __init__(self) -> None:
        super().__init__("own_count", min_images=1)

    def require_weights(self) -> None:
        pass

    def update(self, prediction, target) -> None:
        self.sample_count += len(prediction)

    def update_features(self, prediction, target) -> None:
        pass

    def compute(self):
        self.num_samples = self.num_images = int(self.sample_count)
        return self.sample_count.double()

    def compute_distance(self):
        raise NotImplementedError


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
        "callbacks": [{"class_path": "own_module.OwnCallback", "init_args": {"number": 7}}],
        "loggers": [{"class_path": "own_module.OwnLogger", "init_args": {"file": "logged.txt"}}],
        "metrics": ["own_module.BLUE", "own_module.OwnSetMetric", "psnr_hole"],
        "best_metric": "val/blue",
        "wandb": {"mode": "disabled"},
        "ema": 0.9,
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(settings))
    done = command(folder, "fit", "--experiment", "own.yaml", "--run_dir", "run")
    assert done.returncode == 0, done.stderr
    return folder


def command(folder: Path, name: str, *options: str, trusted: str = "") -> CompletedProcess[str]:
    environment = {**os.environ, "LIT_INPAINT_PAPERS": trusted, "CUDA_VISIBLE_DEVICES": ""}
    return forked.run(["-m", f"lit_inpaint.{name}", *options], environment, folder)


CHECKPOINT = "run/checkpoints/last.ckpt"


@pytest.mark.xdist_group("own paper")
def test_callbacks_loggers_and_metrics_add_to_ours(folder: Path) -> None:
    """Validation, best.ckpt, the final evaluation, `evaluate` and `report` have them; ours stay."""
    with (folder / "run" / "metrics.csv").open(newline="") as file:
        rows = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    (validation,) = [row for row in rows if "val/psnr" in row]
    assert {"val/blue", "val/psnr_hole", "val/ssim", "val_loss/generator"} <= validation.keys()
    assert validation["step"] == "2"
    assert [(row["step"], float(row["own/number"])) for row in rows if "own/number" in row] == [("1", 7.0)]
    assert [(row["step"], float(row["own/twice"])) for row in rows if "own/twice" in row] == [("2", 14.0)]
    logged = (folder / "logged.txt").read_text().splitlines()
    assert logged[0] == "width 4"
    assert any(line.startswith("2 ") and "val/blue" in line and "val/psnr" in line for line in logged)
    content = torch.load(folder / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert content["callbacks"]["OwnCallback"] == {"number": 7}
    assert content["callbacks"]["RunCheckpoint"]["best_value"] == pytest.approx(float(validation["val/blue"]), rel=1e-6)
    final = json.loads((folder / "run" / "final_evaluation.json").read_text())["rows"]
    values = {row["metric"]: row["value"] for row in final if row["bucket"] == "all"}
    assert values["own_count"] == 2
    assert values["blue"] > 0
    evaluated = command(
        folder, "evaluate", "--checkpoint", CHECKPOINT, "--experiment", "own.yaml", "--metrics", "own_module.BLUE", "ssim"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "BLUE" in evaluated.stdout
    reported = command(folder, "report", "run", "--output", "page.html", trusted="own_module")
    assert reported.returncode == 0, reported.stderr
    assert "BLUE" in (folder / "page.html").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.metric", "--metrics nothing.metric: No module named 'nothing'; give the import path"),
        ("lit_inpaint.metrics.nothing", "--metrics lit_inpaint.metrics.nothing: module .* has no attribute 'nothing'"),
        ("lit_inpaint.metrics.ALL", "--metrics lit_inpaint.metrics.ALL is str; expected a lit_inpaint.metrics.Metric"),
    ],
)
def test_a_wrong_import_path_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_metrics([name])


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
