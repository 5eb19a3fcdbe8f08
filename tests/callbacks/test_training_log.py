"""The row of step k holds the losses of the batch before it and the schedules' values at k."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger
from tiny_gan import TinyGAN, TinyWeights, loader, make_batches, make_tiny, make_trainer

from lit_inpaint import papers
from lit_inpaint.callbacks import TrainingLog
from lit_inpaint.callbacks.training_log import log
from lit_inpaint.loggers.csv import CSVLogger
from lit_inpaint.schedules import Cosine, Linear, Steps
from lit_inpaint.settings import SGD, Adam, Stage

STEPS = 12


def make_scheduled() -> TinyGAN:
    stages = (
        Stage("warm-up", iterations=5, discriminator=False, weights={"fake": 0.25}),
        Stage("both", generator_optimizer=SGD(Cosine(0.1, 0.02)), weights={"adversarial": Linear(0.0, 0.4, length=4)}),
    )
    return make_tiny(
        stages=stages,
        weights=TinyWeights(l1=Linear(5.0)),
        generator_optimizer=Adam(Linear(1e-2)),
        discriminator_optimizer=Adam(Steps(2e-2, 0.5, (3, 8))),
    )


def formulas(k: int) -> dict[str, float]:
    """Scheduled values at step k."""
    return {
        "lr_generator": 1e-2 * (1 - k / 12) if k < 5 else 0.02 + 0.08 * (1 + math.cos(math.pi * (k - 5) / 7)) / 2,
        "lr_discriminator": 2e-2 if k < 3 else 1e-2 if k < 8 else 5e-3,
        "weight_l1": 5 * (1 - k / 12),
        "weight_adversarial": 0.1 if k < 5 else 0.4 * min(k - 5, 4) / 4,
        "weight_fake": 0.25 if k < 5 else 0.5,
    }


def fit(folder: Path, every: int = 1, start: int | None = None, stop: int | None = None) -> list[dict[str, str]]:
    """Train for 12 steps, or up to `stop`, or resume at `start`; return the rows of metrics.csv."""
    path, table = folder / "stopped.ckpt", CSVLogger(folder / "metrics.csv")
    if start is not None:
        table.rewind(start)
    trainer = make_trainer(STEPS, TrainingLog(), Stop(stop, path), logger=table, log_every_n_steps=every)
    trainer.fit(make_scheduled(), loader(make_batches(STEPS)), ckpt_path=None if start is None else path, weights_only=True)
    with table.path.open(newline="") as file:
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]


class Stop(Callback):
    """Saves a checkpoint at `step` and stops."""

    def __init__(self, step: int | None, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def assert_formulas(rows: list[dict[str, str]]) -> None:
    for row in rows:
        k = int(row["step"])
        found = {name: float(row[f"train/{name}"]) for name in formulas(k)}
        assert found == pytest.approx(formulas(k), rel=1e-7, abs=1e-9), k
        assert row["train/stage"] == ("warm-up" if k <= 5 else "both"), "the stage of the batch that the step ended with"


@pytest.mark.parametrize("every", [1, 4])
def test_scheduled_values_match_the_formulas(every: int, tmp_path: Path) -> None:
    rows = fit(tmp_path, every)
    assert [int(row["step"]) for row in rows] == list(range(every, STEPS + 1, every))
    assert_formulas(rows)
    assert {"train/l1", "train/generator", "train/images_per_second"} <= rows[0].keys()
    assert "train/weight_real" not in rows[0], "a constant weight is not logged"


@pytest.mark.parametrize("stopped", [3, 5, 7])
def test_scheduled_values_after_a_resume(stopped: int, tmp_path: Path) -> None:
    assert len(fit(tmp_path, stop=stopped)) == stopped
    rows = fit(tmp_path, start=stopped)
    assert [int(row["step"]) for row in rows] == list(range(1, STEPS + 1))
    assert_formulas(rows)


class Numbers(DummyLogger):
    """A logger that takes numbers only."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        self.rows.append((step, metrics))


class Texts(WandbLogger):
    """W&B's logger without W&B."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step or 0, dict(metrics)))


def test_text_goes_to_loggers_that_take_it(tmp_path: Path) -> None:
    numbers, texts, table = Numbers(), Texts(), CSVLogger(tmp_path / "metrics.csv")
    trainer: Any = SimpleNamespace(loggers=[numbers, texts, table], global_step=7)
    log(trainer, {"train/l1": 0.5, "train/stage": "both"})
    assert numbers.rows == [(7, {"train/l1": 0.5})]
    assert texts.rows == [(7, {"train/l1": 0.5, "train/stage": "both"})]
    assert table.path.read_text() == "step,train/l1,train/stage\n7,0.5,both\n"


@pytest.mark.parametrize(("every", "steps"), [(5, [5, 10]), (100, []), (0, [])])
def test_interval(every: int, steps: list[int]) -> None:
    numbers = Numbers()
    make_trainer(STEPS, TrainingLog(), logger=numbers, log_every_n_steps=every).fit(make_tiny(), loader(make_batches(STEPS)))
    assert [step for step, _ in numbers.rows] == steps
    assert all(isinstance(value, float) for _, row in numbers.rows for value in row.values())


@pytest.mark.parametrize("name", papers.__all__)
def test_loss_terms_have_log_keys_of_their_own(name: str) -> None:
    weights = inspect.signature(getattr(papers, name)).parameters["weights"].default
    terms = {field.name for field in dataclasses.fields(weights)}
    assert not terms & {"mask_ratio", "images_per_second", "stage", "generator", "discriminator"}
