"""One batch is one `global_step`, in every mode, for everything in Lightning that counts."""

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

PLANS: dict[str, tuple[Stage, ...]] = {
    "simultaneous": (Stage(),),
    "alternating": (Stage(update="alternating"),),
    "alternating, D thrice": (Stage(update="alternating", d_steps=3),),
    "generator first": (Stage(update="generator_first"),),
    "only G": (Stage(discriminator=False),),
    "only D": (Stage(generator=False),),
    "odd warm-up": (Stage("warm-up", discriminator=False, iterations=5), Stage(update="alternating", d_steps=2)),
}


class Steps(Callback):
    """`global_step` as a callback sees it after each batch and at each validation."""

    def __init__(self) -> None:
        self.after_batches: list[int] = []
        self.at_validations: list[int] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.after_batches.append(trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.at_validations.append(trainer.global_step)


@pytest.fixture(params=PLANS)
def model(request: pytest.FixtureRequest) -> TinyGAN:
    return make_tiny(stages=PLANS[request.param])


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


def test_counting_goes_on_over_epochs_and_resumes(model: TinyGAN, tmp_path: Path) -> None:
    steps = Steps()
    trainer = make_trainer(7, steps)
    trainer.fit(model, loader(make_batches(3)))
    assert steps.after_batches == list(range(1, 8))
    trainer.save_checkpoint(tmp_path / "7.ckpt")
    again = Steps()
    second = make_trainer(10, again)
    second.fit(model, loader(make_batches(3)), ckpt_path=tmp_path / "7.ckpt", weights_only=True)
    assert again.after_batches == [8, 9, 10]


class Watch(Callback):
    def __init__(self) -> None:
        self.found: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.found = missing(trainer)


def missing(trainer: Trainer) -> list[str]:
    """The names `counting.py` relies on that this Lightning does not have."""
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


def test_lightning_still_has_the_names_counting_uses() -> None:
    watch = Watch()
    trainer = make_trainer(1, watch)
    try:
        trainer.fit(make_tiny(), loader(make_batches(1)))
    except AttributeError as error:
        pytest.fail(f"lit_inpaint/counting.py relies on a private name that this Lightning lacks: {error}")
    assert not watch.found, f"Lightning renamed what lit_inpaint/counting.py relies on; mend that file: {watch.found}"
    # And they must still do what they did: without us, one batch of two optimizers counts two.
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    assert (progress.total.ready, progress.total.completed) == (1, 1)


def test_without_us_lightning_counts_optimizer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """When this fails, Lightning has changed what it counts and `counting.py` may have become wrong or needless."""
    monkeypatch.setattr("lit_inpaint.engine.inpainter.stop_counting_optimizer_steps", lambda trainer: None)
    monkeypatch.setattr("lit_inpaint.engine.inpainter.count_batch", lambda trainer: None)
    steps = Steps()
    make_trainer(6, steps).fit(make_tiny(), loader(make_batches(6)))
    assert steps.after_batches == [2, 4, 6]


def test_counting_is_the_only_file_with_these_names() -> None:
    package = Path(global_step.__file__).parent
    users = [
        path.name
        for path in package.rglob("*.py")
        if "_on_before_step" in path.read_text() or "optim_step_progress" in path.read_text()
    ]
    assert users == ["global_step.py"]


def test_a_count_that_begins_later() -> None:
    """As in a resumed run: the stage is that of the batch's number, and `max_steps` counts from 0."""

    class Begin(Steps):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            global_step.set_global_step(trainer, 7)

    steps, outputs = Begin(), Outputs()
    model = make_tiny(stages=(Stage("warm-up", discriminator=False, iterations=5), Stage("both")))
    trainer = make_trainer(9, steps, outputs)
    trainer.fit(model, loader(make_batches(30)))
    assert steps.after_batches == [8, 9]
    assert model.stage_name(7) == "both"
    assert all("discriminator" in said for said in outputs.seen)
