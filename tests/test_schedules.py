"""Schedules against formulas at every position, their errors, and their way through YAML and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser

from lit_inpaint.schedules import Clock, Cosine, Linear, Schedule, Steps, Value, value_at
from lit_inpaint.settings import SGD, Adam, OptimizerSettings, Stage, plain

RUN, EPOCH = 40, 4
"""Batches in the run and in an epoch."""


def values(schedule: Schedule, count: int = 60, length: int | None = RUN, per_epoch: int | None = EPOCH) -> list[float]:
    """Return the values of `schedule` for each batch, from the first to 20 batches after the end of the run."""
    return [schedule.at(Clock(k, length, per_epoch)) for k in range(count)]


def half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


FORMULAS: dict[str, tuple[Schedule, Callable[[int], float]]] = {
    "linear to zero over the run": (Linear(5.0), lambda k: 5 * (1 - k / 40) if k < 40 else 0),
    "linear, held, over the rest": (
        Linear(5.0, 1.0, hold=10),
        lambda k: 5 if k < 10 else 5 - 4 * (k - 10) / 30 if k < 40 else 1,
    ),
    "linear, held, its own length": (
        Linear(5.0, 1.0, hold=10, length=7),
        lambda k: 5 if k < 10 else 5 - 4 * (k - 10) / 7 if k < 17 else 1,
    ),
    "linear, longer than the run": (Linear(5.0, length=50), lambda k: 5 * (1 - k / 50) if k < 50 else 0),
    "linear warm-up": (Linear(0.0, 0.3, length=9), lambda k: 0.3 * k / 9 if k < 9 else 0.3),
    "linear by epoch": (Linear(5.0, by="epoch"), lambda k: 5 * (1 - (k // 4) / 10) if k < 40 else 0),
    "linear by epoch, held": (
        Linear(5.0, 1.0, hold=2, length=3, by="epoch"),
        lambda k: 5 if k < 12 else 5 - 4 * (k // 4 - 2) / 3 if k < 20 else 1,
    ),
    "cosine over the run": (Cosine(2.0), lambda k: 1 + math.cos(math.pi * k / 40) if k < 40 else 0),
    "cosine, held, its own length": (
        Cosine(2.0, 0.5, hold=3, length=20),
        lambda k: 2 if k < 3 else half_cosine(2, 0.5, (k - 3) / 20) if k < 23 else 0.5,
    ),
    "cosine, held, over the rest": (
        Cosine(2.0, hold=30),
        lambda k: 2 if k < 30 else half_cosine(2, 0, (k - 30) / 10) if k < 40 else 0,
    ),
    "cosine warm-up by epoch": (
        Cosine(0.1, 0.3, length=5, by="epoch"),
        lambda k: half_cosine(0.1, 0.3, (k // 4) / 5) if k < 20 else 0.3,
    ),
    "steps": (Steps(1.0, milestones=(7, 20)), lambda k: 1.0 if k < 7 else 0.1 if k < 20 else 0.01),
    "steps by half, by epoch": (Steps(3.0, 0.5, (1, 3, 14), "epoch"), lambda k: 3 * 0.5 ** ((k >= 4) + (k >= 12) + (k >= 56))),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_every_value_is_that_of_the_formula(name: str) -> None:
    schedule, formula = FORMULAS[name]
    assert values(schedule) == pytest.approx([formula(k) for k in range(60)], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("kind", [Linear, Cosine])
@pytest.mark.parametrize(("start", "end"), [(0.1, 0.3), (0.3, 0.1), (1e-4, 1e-7), (0.1, 0.7), (1e-5, 1e-3), (0.0, 2e-4)])
def test_both_ends_are_exact(kind: type[Linear] | type[Cosine], start: float, end: float) -> None:
    found = values(kind(start, end, hold=3))
    assert found[:4] == [start] * 4
    assert found[40:] == [end] * 20


def test_pepsis_coarse_loss() -> None:
    """`5 (1 - k / k_max)`, for a million batches, without its own length."""
    coarse = Linear(5.0)
    for k in (0, 1, 77_777, 500_000, 999_999, 1_000_000):
        assert coarse.at(Clock(k, 1_000_000)) == pytest.approx(5 * (1 - k / 1_000_000), rel=1e-12)


def test_deepgins_learning_rate() -> None:
    """Epochs from 1: the initial rate up to 11, then a ninetieth less in each, down to a ninetieth in epoch 100."""
    per_epoch, schedule = 3, Linear(1e-4, hold=10, length=90, by="epoch")
    for epoch in range(1, 101):
        expected = 1e-4 if epoch <= 11 else 1e-4 * (1 - (epoch - 11) / 90)
        for batch in range(per_epoch):
            clock = Clock((epoch - 1) * per_epoch + batch, 100 * per_epoch, per_epoch)
            assert schedule.at(clock) == pytest.approx(expected, rel=1e-12), (epoch, batch)
    assert expected == pytest.approx(1e-4 / 90)


@pytest.mark.parametrize("kind", [Linear, Cosine])
@pytest.mark.parametrize("hold", [40, 41, 100])
def test_a_hold_longer_than_the_run_holds_to_its_end(kind: type[Linear] | type[Cosine], hold: int) -> None:
    """After it, nothing is left for the change, and the value is the last one."""
    assert values(kind(5.0, 1.0, hold=hold), 120) == [5.0] * (hold + 1) + [1.0] * (119 - hold)


def test_a_run_that_ends_within_an_epoch() -> None:
    """Ten batches are two and a half epochs of four."""
    assert [Linear(1.0, by="epoch").at(Clock(k, 10, 4)) for k in (0, 4, 8)] == pytest.approx([1, 1 - 1 / 2.5, 1 - 2 / 2.5])


def test_a_number_is_a_constant_schedule() -> None:
    assert value_at(3, Clock(10**9)) == 3.0
    assert isinstance(value_at(3, Clock(0)), float)
    assert value_at(Steps(1.0, milestones=(2,)), Clock(2)) == pytest.approx(0.1)


def test_in_a_run_without_end_a_schedule_needs_a_length() -> None:
    assert values(Linear(1.0, length=2), 4, length=None) == [1, 0.5, 0, 0]
    assert values(Steps(1.0, milestones=(2,)), 3, length=None) == pytest.approx([1, 1, 0.1])
    for schedule in (Linear(1.0), Cosine(1.0, hold=3)):
        with pytest.raises(ValueError, match=rf"{type(schedule).__name__}\(.*\) needs a length, since the run has no end"):
            schedule.at(Clock(0))


@pytest.mark.parametrize(
    "schedule", [Linear(1.0, by="epoch"), Cosine(1.0, length=2, by="epoch"), Steps(1.0, 0.5, (1,), "epoch")]
)
def test_epochs_need_data_of_known_length(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match="by epoch needs training data of known length; state it by iteration"):
        schedule.at(Clock(0, 100))


@pytest.mark.parametrize("kind", [Linear, Cosine])
@pytest.mark.parametrize(("hold", "length"), [(-1, None), (0, 0), (3, -2)])
def test_invalid_hold_and_length(kind: type[Linear] | type[Cosine], hold: int, length: int | None) -> None:
    with pytest.raises(ValueError, match=f"^{kind.__name__}: hold={hold}, length={length}; give hold from 0 on, length from 1"):
        kind(1.0, hold=hold, length=length)


@pytest.mark.parametrize("milestones", [(), (0,), (-1, 3), (5, 5), (5, 4)])
def test_invalid_milestones(milestones: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^Steps: milestones=.* positions from 1 on, each above the one before"):
        Steps(1.0, milestones=milestones)


# YAML and checkpoints ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SomeWeights:
    l1: Value = 1.0
    coarse: Value = field(default_factory=lambda: Linear(5.0))


DEFAULTS = SomeWeights()


class SomePaper:
    def __init__(
        self,
        weights: SomeWeights = DEFAULTS,
        optimizer: OptimizerSettings = Adam(),
        stages: tuple[Stage, ...] = (Stage(),),
    ) -> None:
        self.given = {"weights": weights, "optimizer": optimizer, "stages": stages}


def parsed(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a paper whose settings are in a YAML file."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SomePaper, "model")
    given: dict[str, Any] = parser.instantiate(parser.parse_object({"model": settings})).model.given
    return given


def class_of(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"lit_inpaint.{name}", "init_args": arguments}


def test_a_schedule_is_accepted_wherever_a_number_is() -> None:
    given = parsed(
        {
            "weights": {"l1": 3, "coarse": class_of("schedules.Cosine", start=2.0, end=0.5, length=7, by="epoch")},
            "optimizer": class_of("settings.SGD", lr=class_of("schedules.Steps", start=0.1, milestones=[3, 9]), momentum=0.9),
            "stages": [
                {"name": "first", "iterations": 5, "weights": {"l1": class_of("schedules.Linear", start=1.0, hold=2)}},
                {"name": "second", "weights": {"coarse": 0}, "generator_optimizer": class_of("settings.AdamW", lr=1e-5)},
            ],
        }
    )
    assert given["weights"] == SomeWeights(3.0, Cosine(2.0, 0.5, length=7, by="epoch"))
    assert given["optimizer"] == SGD(Steps(0.1, milestones=(3, 9)), momentum=0.9)
    first, second = given["stages"]
    assert first == Stage("first", iterations=5, weights={"l1": Linear(1.0, hold=2)})
    assert second.weights == {"coarse": 0}
    assert second.generator_optimizer.build([torch.nn.Parameter(torch.ones(1))]).param_groups[0]["lr"] == 1e-5


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (class_of("schedules.Linear", start=1.0, hold=-1), "hold=-1"),
        (class_of("schedules.Steps", start=1.0), "milestones"),
        (class_of("schedules.Linear", start=1.0, step=3), "step"),
        (class_of("schedules.Linear", start=1.0, by="batch"), "batch"),
        ("half", "half"),
    ],
)
def test_an_invalid_schedule_is_a_parser_error(weight: object, message: str) -> None:
    with pytest.raises((ArgumentError, ValueError), match=message):
        parsed({"weights": {"coarse": weight}})


@dataclass(frozen=True)
class Everything:
    weights: SomeWeights = field(default_factory=SomeWeights)
    optimizer: OptimizerSettings = field(default_factory=lambda: SGD(Steps(0.1, 0.5, (3, 9), "epoch"), 0.9, True))
    stages: tuple[Stage, ...] = (
        Stage("a", iterations=4, weights={"l1": Linear(1.0, 0.25, 3, 8, "epoch")}, frozen=("generator.*",)),
        Stage("b", generator_optimizer=Adam(Cosine(1e-3, 1e-5, hold=1)), fresh_optimizers=True, eval_modules=("generator.1",)),
    )


def test_settings_are_restored_from_a_checkpoint(tmp_path: Path) -> None:
    settings = plain(Everything())
    torch.save({"settings": settings}, tmp_path / "some.ckpt")
    loaded = torch.load(tmp_path / "some.ckpt", weights_only=True)["settings"]
    assert loaded == settings
    assert parsed(loaded) == {
        "weights": Everything().weights,
        "optimizer": Everything().optimizer,
        "stages": Everything().stages,
    }
