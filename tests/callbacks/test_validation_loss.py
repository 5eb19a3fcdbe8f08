"""Losses on the validation set: those of a plain loop, over all samples, with the weights of the last trained batch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from tiny_gan import TinyWeights, loader, make_batches, make_tiny, make_trainer

from lit_inpaint.callbacks import ValidationMetrics
from lit_inpaint.loggers.csv import CSVLogger
from lit_inpaint.schedules import Linear
from lit_inpaint.settings import Stage
from lit_inpaint.types import Batch

STAGES = (
    Stage("warm-up", iterations=2, discriminator=False, weights={"adversarial": 0.0}),
    Stage("discriminator", iterations=2, generator=False),
    Stage("both"),
)


class PlainLosses(Callback):
    """Compute the losses of all validation samples, one by one, at the end of each validation."""

    def __init__(self, samples: list[Batch]) -> None:
        self.samples, self.found = samples, list[dict[str, float]]()

    @torch.no_grad()
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        terms = [pl_module.generator_losses(one, pl_module(one["image"], one["mask"])) for one in self.samples]
        self.found.append({name: float(torch.stack([one[name] for one in terms]).mean()) for name in terms[0]})


def fit(folder: Path, batch_size: int) -> tuple[list[dict[str, str]], list[dict[str, float]]]:
    """Train for six steps with a validation after every second one; return the rows and the losses of a plain loop."""
    (whole,) = make_batches(1, size=16, samples=5)
    cuts = [slice(start, start + batch_size) for start in range(0, 5, batch_size)]
    batches = [Batch(image=whole["image"][cut], mask=whole["mask"][cut], name=whole["name"][cut]) for cut in cuts]
    singles = [Batch(image=whole["image"][i : i + 1], mask=whole["mask"][i : i + 1], name=[str(i)]) for i in range(5)]
    plain, table = PlainLosses(singles), CSVLogger(folder / "metrics.csv")
    every = {"val_check_interval": 2, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}
    trainer = make_trainer(6, ValidationMetrics(losses=True), plain, logger=table, **every)
    model = make_tiny(stages=STAGES, weights=TinyWeights(l1=Linear(6.0)))
    trainer.fit(model, loader(make_batches(6)), loader(batches))
    with table.path.open(newline="") as file:
        found = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    return found, plain.found[-3:]


def test_losses_are_those_of_a_plain_loop_for_any_batch_size(tmp_path: Path) -> None:
    (rows, plain), (others, _) = fit(tmp_path / "one", 2), fit(tmp_path / "other", 5)
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert not any(name.startswith("val_loss") for name in rows[1]), "the second stage does not train the generator"
    del rows[1], others[1]
    for row, losses, weight in zip(
        rows, (plain[0], plain[2]), ({"l1": 5.0, "adversarial": 0.0}, {"l1": 1.0, "adversarial": 0.1}), strict=True
    ):
        for name in losses:
            assert float(row[f"val_loss/{name}"]) == pytest.approx(losses[name], rel=1e-5)
        total = sum(weight[name] * losses[name] for name in losses)
        assert float(row["val_loss/generator"]) == pytest.approx(total, rel=1e-5)
    for row, other in zip(rows, others, strict=True):
        assert {name: float(value) for name, value in other.items()} == pytest.approx(
            {name: float(value) for name, value in row.items()}, rel=1e-5
        )
