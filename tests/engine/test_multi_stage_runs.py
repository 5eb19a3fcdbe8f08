"""Runs of several stages: resuming anywhere in them, their end, and mistakes found before they start."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from plain_loop import assert_same_state
from tiny_gan import ADAM_D, ADAM_G, Outputs, TinyGAN, TinyWeights, loader, make_batches, make_tiny, make_trainer

from lit_inpaint.callbacks import GeneratorEMA, TrainingLog
from lit_inpaint.errors import UserError
from lit_inpaint.loggers.csv import CSVLogger
from lit_inpaint.schedules import Cosine, Linear, Steps
from lit_inpaint.settings import SGD, Adam, Stage, Training

# Resuming -------------------------------------------------------------------------------------------------------------------

STEPS, SAVED = 12, (2, 4, 6, 9, 11)
"""Stages end at 4 and 9."""


def make_staged(seed: int, **order: Any) -> TinyGAN:
    """Three stages that override everything a stage can override."""
    stages = (
        Stage("a", iterations=4, weights={"l1": Linear(2.0)}, frozen=("generator.1",), **order),
        Stage(
            "b",
            iterations=5,
            generator_optimizer=SGD(Cosine(0.1, 0.01), momentum=0.9),
            discriminator_optimizer=Adam(3e-3, (0.3, 0.8), weight_decay=0.1),
            eval_modules=("generator.1",),
            **order,
        ),
        Stage("c", fresh_optimizers=True, **order),
    )
    return make_tiny(
        seed=seed,
        stages=stages,
        dropout=0.5,
        weights=TinyWeights(adversarial=Linear(0.1, 0.5)),
        generator_optimizer=Adam(Linear(1e-2, 1e-3), ADAM_G.betas),
        discriminator_optimizer=Adam(Steps(2e-2, 0.5, (3, 10)), ADAM_D.betas),
        training=Training(clip_generator=1.0, channels_last=False),
    )


class SaveAt(Callback):
    def __init__(self, steps: Collection[int], folder: Path) -> None:
        self.steps, self.folder = steps, folder

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step in self.steps:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


class Run:
    """Train to the end, from the start or from a checkpoint, and keep the results."""

    def __init__(self, model: TinyGAN, folder: Path, start: int | None = None, save: Collection[int] = ()) -> None:
        folder.mkdir(exist_ok=True)
        self.model, self.outputs, self.ema = model, Outputs(), GeneratorEMA(0.9)
        self.csv = CSVLogger(folder / f"from_{start}.csv")
        self.trainer = make_trainer(
            STEPS, self.outputs, self.ema, TrainingLog(), SaveAt(save, folder), logger=self.csv, log_every_n_steps=1
        )
        path = None if start is None else folder / f"{start}.ckpt"
        batches = make_batches(1) * STEPS  # always the same: this loader starts again where a run resumes
        self.trainer.fit(model, loader(batches), ckpt_path=path, weights_only=True)

    @property
    def rows(self) -> list[dict[str, str]]:
        return [{name: cell for name, cell in row.items() if "per_second" not in name} for row in self.csv._rows]


ORDERS: dict[str, dict[str, Any]] = {
    "simultaneous": {},
    "alternating": {"update": "alternating"},
    "alternating, D thrice": {"update": "alternating", "d_steps": 3},
    "generator first": {"update": "generator_first"},
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Run, Path]]:
    @functools.cache
    def run(order: str) -> tuple[Run, Path]:
        folder = tmp_path_factory.mktemp("run")
        return Run(make_staged(seed=9, **ORDERS[order]), folder, save=SAVED), folder

    return run


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("order", ORDERS)
def test_resumed_equals_uninterrupted(order: str, saved: int, uninterrupted: Callable[[str], tuple[Run, Path]]) -> None:
    whole, folder = uninterrupted(order)
    other = make_staged(seed=1, **ORDERS[order])  # the checkpoint brings the weights and the seed
    torch.manual_seed(12345)
    resumed = Run(other, folder, start=saved)
    assert resumed.trainer.global_step == whole.trainer.global_step == STEPS
    assert_same_state(other.state_dict(), whole.model.state_dict())
    for ours, theirs in zip(resumed.trainer.optimizers, whole.trainer.optimizers, strict=True):
        assert_same_state(ours.state_dict(), theirs.state_dict())
    assert_same_state(resumed.ema.state_dict(), whole.ema.state_dict())
    assert len(resumed.outputs.seen) == STEPS - saved
    for ours, theirs in zip(resumed.outputs.seen, whole.outputs.seen[saved:], strict=True):
        assert_same_state(ours, theirs)
    assert resumed.rows == whole.rows[saved:]


def test_the_run_above_changes_everything_it_should(uninterrupted: Callable[[str], tuple[Run, Path]]) -> None:
    run, folder = uninterrupted("alternating")
    stages = [row["train/stage"] for row in run.rows]
    assert stages == ["a"] * 4 + ["b"] * 5 + ["c"] * 3
    for name in ("lr_generator", "lr_discriminator", "weight_l1", "weight_adversarial"):
        assert len({row[f"train/{name}"] for row in run.rows}) > 2, name
    kinds = [type(optimizer).__name__ for optimizer in run.trainer.optimizers]
    assert kinds == ["Adam", "SGD", "Adam", "Adam", "Adam"]
    held = {step: [bool(saved["state"]) for saved in load(folder, step)["optimizer_states"]] for step in SAVED}
    assert held[2] == held[4] == [True, False, False, True, False]
    assert held[6] == held[9] == [False, True, False, True, False]
    assert held[11] == [False, False, True, False, True], "a checkpoint has no state of a finished optimizer"


def load(folder: Path, step: int) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / f"{step}.ckpt", weights_only=True)
    return content


# The end ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "steps", "epochs", "end"),
    [
        ((Stage("a", iterations=2), Stage("b", iterations=3)), 9, -1, 5),
        ((Stage("a", iterations=2), Stage("b", iterations=3)), -1, -1, 5),
        ((Stage("a", iterations=2), Stage("b", iterations=3)), 4, -1, 4),
        ((Stage("a", iterations=2), Stage("b", epochs=2)), -1, -1, 8),
        ((Stage("a", iterations=2), Stage("b")), -1, 2, 6),
        ((Stage("a", epochs=1), Stage("b", epochs=5)), 100, 2, 6),
    ],
)
def test_a_run_ends_with_its_last_stage_or_at_the_trainers_limit(
    stages: tuple[Stage, ...], steps: int, epochs: int, end: int
) -> None:
    """Epochs have three batches."""
    model, outputs = make_tiny(stages=stages, weights=TinyWeights(l1=Linear(1.0))), Outputs()
    trainer = make_trainer(steps, outputs, max_epochs=epochs)
    trainer.fit(model, loader(make_batches(3)))
    assert trainer.global_step == len(outputs.seen) == model.stage_schedule.length == end
    assert model.scheduled_values(end)["weight_l1"] == 0


def test_a_finished_run_learns_nothing_more(tmp_path: Path) -> None:
    stages = (Stage("a", iterations=2), Stage("b", iterations=3))
    make_trainer(-1, SaveAt([5], tmp_path)).fit(make_tiny(stages=stages), loader(make_batches(9)))
    model, outputs = make_tiny(seed=3, stages=stages), Outputs()
    trainer = make_trainer(-1, outputs)
    trainer.fit(model, loader(make_batches(9)), ckpt_path=tmp_path / "5.ckpt", weights_only=True)
    assert (trainer.global_step, outputs.seen) == (5, [])
    assert_same_state(model.state_dict(), load(tmp_path, 5)["state_dict"])


def test_stages_are_announced(caplog: pytest.LogCaptureFixture) -> None:
    stages = (Stage("warm-up", discriminator=False, iterations=2), Stage("both", iterations=2))
    with caplog.at_level("INFO"):
        make_trainer(9).fit(make_tiny(stages=stages), loader(make_batches(9)))
    messages = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Stage")]
    assert messages == ["Stage warm-up, steps 0 to 2: generator", "Stage both, steps 2 to 4: generator and discriminator"]


# Mistakes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Stage("b", weights={"style": 1.0}), "stage 'b' weighs style, but the paper's weights are l1, adversarial, real, fake"),
        (Stage("b", frozen=("generator.7",)), "no module is called 'generator.7'; did you mean 'generator.4'?"),
        (Stage("b", eval_modules=("generater",)), "no module is called 'generater'; did you mean 'generator'?"),
    ],
)
def test_a_mistake_in_a_later_stage_is_found_at_the_start(second: Stage, message: str) -> None:
    model, outputs = make_tiny(stages=(Stage("a", iterations=3), second)), Outputs()
    with pytest.raises(UserError, match=message):
        make_trainer(9, outputs).fit(model, loader(make_batches(9)))
    assert outputs.seen == []


def test_an_open_stage_before_the_last_is_a_user_error() -> None:
    with pytest.raises(UserError, match="only the last stage may leave its length open: a, b"):
        make_trainer(9).fit(make_tiny(stages=(Stage("a"), Stage("b"))), loader(make_batches(1)))


def test_a_schedule_to_the_end_of_a_run_without_end() -> None:
    with pytest.raises(UserError, match="needs a length, since the run has no end"):
        make_trainer(-1).fit(make_tiny(weights=TinyWeights(l1=Linear(1.0))), loader(make_batches(1)))
