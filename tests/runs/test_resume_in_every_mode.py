"""A resumed run equals the uninterrupted one in each update order and across stages, with EMA and two loader workers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny_runs import assert_same_run, content, rows, run_small, run_small_killed

WARM_UP = {"name": "warm-up", "discriminator": False, "iterations": 3, "weights": {"adversarial": 0.0}}
DECAY = {"class_path": "Linear", "init_args": {"start": 1e-3}}  # over the stage
FINE = {
    "name": "fine",
    "update": "alternating",
    "generator_optimizer": {"class_path": "SGD", "init_args": {"lr": DECAY, "momentum": 0.9}},
    "frozen": ["generator.0"],
    "weights": {"l1": {"class_path": "Cosine", "init_args": {"start": 2.0, "end": 1.0, "length": 4}}},
}
STAGES: dict[str, list[dict[str, object]]] = {
    "simultaneous": [{"update": "simultaneous"}],
    "alternating": [{"update": "alternating", "d_steps": 2, "generator_every": 2}],
    "warm-up, then leftover gradients": [WARM_UP, {"update": "alternating", "leftover_gradients": True}],
    "generator first": [{"update": "generator_first"}],
    "generator first, recomputed": [{"update": "generator_first", "recompute": True}],
    "warm-up, then adversarial": [WARM_UP, {"name": "adversarial"}],
    "warm-up, then fresh optimizers": [WARM_UP, {"name": "adversarial", "fresh_optimizers": True}],
    "epochs, other optimizers, frozen parts": [{"name": "first", "epochs": 1}, FINE],
}
WORKERS = ("--data.workers", "2", "--checkpoint_every", "1")


def settings(mode: str) -> list[str]:
    return ["--model.stages", yaml.safe_dump(STAGES[mode], default_flow_style=True, width=10**6)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the uninterrupted run of a mode, trained once."""
    done: dict[str, Path] = {}

    def make(mode: str) -> Path:
        if mode not in done:
            done[mode] = tmp_path_factory.mktemp("uninterrupted") / "run"
            assert run_small(done[mode], *settings(mode)) == 0
        return done[mode]

    return make


@pytest.mark.xdist_group("every mode")
@pytest.mark.parametrize(
    ("mode", "step"), [(mode, step) for mode, stages in STAGES.items() for step in ((2, 3, 5) if len(stages) > 1 else (5,))]
)
def test_killed_and_resumed_equals_uninterrupted(
    mode: str, step: int, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    """An epoch has three batches; a second stage begins with the fourth. Kills in the first, between both, in the second."""
    expected = uninterrupted(mode)
    run_small_killed(tmp_path / "run", step, "training_step", *settings(mode), *WORKERS)
    assert content(tmp_path / "run")["global_step"] == step
    assert run_small(tmp_path / "run", *settings(mode), *WORKERS) == 0
    assert_same_run(tmp_path / "run", expected)
    assert content(expected)["callbacks"]["GeneratorEMA"]["updates"] == 8


@pytest.mark.xdist_group("every mode")
def test_stages_and_schedules_are_logged(uninterrupted: Callable[[str], Path]) -> None:
    found = {
        int(row["step"]): row for row in rows(uninterrupted("epochs, other optimizers, frozen parts")) if "train/l1" in row
    }
    assert [found[k]["train/stage"] for k in range(1, 9)] == ["first"] * 3 + ["fine"] * 5
    for k in range(3, 9):
        assert float(found[k]["train/lr_generator"]) == pytest.approx(1e-3 * (1 - (k - 3) / 5), abs=1e-9)
    assert [float(found[k]["train/weight_l1"]) for k in (1, 2, 3, 5, 7, 8)] == [3.0, 3.0, 2.0, 1.5, 1.0, 1.0]
