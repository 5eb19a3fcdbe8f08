"""One batch is one `global_step`, in every update order, for every counter of Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.core.optimizer import LightningOptimizer
from tiny_gan import Outputs, TinyGAN, loader, make_batches, make_tiny, make_trainer

from lit_inpaint.callbacks import GeneratorEMA
from lit_inpaint.engine import global_step
from lit_inpaint.settings import Stage

STAGES: dict[str, tuple[Stage, ...]] = {
    "simultaneous": (Stage(),),
    "alternating": (Stage(update="alternating"),),
    "alternating, D thrice": (Stage(update="alternating", d_steps=3),),
    "generator first": (Stage(update="generator_first"),),
    "only G": (Stage(discriminator=False),),
    "only D": (Stage(generator=False),),
    "odd warm-up": (Stage("warm-up", discriminator=False, iterations=5), Stage(update="alternating", d_steps=2)),
}


class Steps(Callback):
    """Record `global_step` after each batch and at each validation."""

    def __init__(self) -> None:
        self.after_batches: list[int] = []
        self.at_validations: list[int] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.after_batches.append(trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.at_validations.append(trainer.global_step)


@pytest.fixture(params=STAGES)
def model(request: pytest.FixtureRequest) -> TinyGAN:
    return make_tiny(stages=STAGES[request.param])


def test_every_counter_counts_batches(model: TinyGAN, tmp_path: Path) -> None:
    steps, outputs, ema = Steps(), Outputs(), GeneratorEMA(0.9)
    files = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4, save_top_k=-1)
    trainer = make_trainer(
        11, steps, outputs, ema, files, enable_checkpointing=True, val_check_interval=3, check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, loader(make_batches(30)), loader(make_batches(1)))
    assert len(outputs.seen) == 11, "max_steps counts batches"
    assert trainer.global_step == 11
    assert steps.after_batches == list(range(1, 12))
    assert steps.at_validations == [3, 6, 9]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step=4.ckpt", "step=8.ckpt"]
    assert ema.updates == 11


def test_counting_continues_over_epochs_and_after_a_resume(model: TinyGAN, tmp_path: Path) -> None:
    steps = Steps()
    trainer = make_trainer(7, steps)
    trainer.fit(model, loader(make_batches(3)))
    assert steps.after_batches == list(range(1, 8))
    trainer.save_checkpoint(tmp_path / "7.ckpt")
    again = Steps()
    second = make_trainer(10, again)
    second.fit(model, loader(make_batches(3)), ckpt_path=tmp_path / "7.ckpt", weights_only=True)
    assert again.after_batches == [8, 9, 10]


class PrivateNames(Callback):
    def __init__(self) -> None:
        self.missing: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.missing = missing(trainer)


def missing(trainer: Trainer) -> list[str]:
    """Return the private names used in `global_step.py` that this Lightning does not have."""
    absent = []
    for path in (
        "fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_ready",
        "fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_completed",
        "strategy._lightning_optimizers",
    ):
        here: Any = trainer
        for name in path.split("."):
            if not hasattr(here, name):
                absent.append(f"trainer.{path}: no {name!r} on {type(here).__name__}")
                break
            here = getattr(here, name)
    for optimizer in getattr(trainer.strategy, "_lightning_optimizers", []):
        assert isinstance(optimizer, LightningOptimizer)
        absent += [f"LightningOptimizer.{n}" for n in ("_on_before_step", "_on_after_step") if n not in vars(optimizer)]
    return absent


def test_lightning_has_the_private_names_used() -> None:
    names = PrivateNames()
    trainer = make_trainer(1, names)
    try:
        trainer.fit(make_tiny(), loader(make_batches(1)))
    except AttributeError as error:
        pytest.fail(f"engine/global_step.py uses a private name that this Lightning lacks: {error}")
    assert not names.missing, f"Lightning renamed what engine/global_step.py uses; fix that file: {names.missing}"
    # The names must also have the same effect: one batch of two optimizers counts 1.
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    assert (progress.total.ready, progress.total.completed) == (1, 1)


def test_by_default_lightning_counts_optimizer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, Lightning has changed what it counts, and `global_step.py` may have become wrong or needless."""
    monkeypatch.setattr("lit_inpaint.engine.inpainter.stop_counting_optimizer_steps", lambda trainer: None)
    monkeypatch.setattr("lit_inpaint.engine.inpainter.count_batch", lambda trainer: None)
    steps = Steps()
    make_trainer(6, steps).fit(make_tiny(), loader(make_batches(6)))
    assert steps.after_batches == [2, 4, 6]


def test_no_other_file_uses_these_names() -> None:
    package = Path(global_step.__file__).parents[1]
    users = [
        path.name
        for path in package.rglob("*.py")
        if "_on_before_step" in path.read_text() or "optim_step_progress" in path.read_text()
    ]
    assert users == ["global_step.py"]


def test_a_count_that_starts_later() -> None:
    """As in a resumed run: the batch number selects the stage, and `max_steps` counts from 0."""

    class StartAtSeven(Steps):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            global_step.set_global_step(trainer, 7)

    steps, outputs = StartAtSeven(), Outputs()
    model = make_tiny(stages=(Stage("warm-up", discriminator=False, iterations=5), Stage("both")))
    trainer = make_trainer(9, steps, outputs)
    trainer.fit(model, loader(make_batches(30)))
    assert steps.after_batches == [8, 9]
    assert model.stage_name(7) == "both"
    assert all("discriminator" in log for log in outputs.seen)
