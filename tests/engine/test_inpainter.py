"""Loss terms against weights, the seed, the first batch, what a paper may leave out, the end of a run."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from plain_loop import assert_same_state
from tiny_gan import NO_CLIPPING, Outputs, TinyGAN, TinyWeights, loader, make_batches, make_tiny, make_trainer
from torch import Tensor, nn

from lit_inpaint.engine import inpainter
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.settings import Adam, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms


@dataclass(frozen=True)
class OneTooMany(TinyWeights):
    style: float = 1.0


@dataclass(frozen=True)
class OneTooFew:
    l1: float = 1.0
    real: float = 1.0
    fake: float = 1.0


def test_a_term_without_a_weight_is_an_error_naming_both() -> None:
    with pytest.raises(ValueError, match="TinyGAN has no weight for adversarial; its weights are fake, l1, real"):
        make_trainer(2).fit(make_tiny(weights=OneTooFew()), loader(make_batches(2)))


def test_a_weight_without_a_term_is_an_error_naming_both() -> None:
    with pytest.raises(ValueError, match=r"TinyGAN weighs style, but its losses give only adversarial, fake, l1, real$"):
        make_trainer(2).fit(make_tiny(weights=OneTooMany()), loader(make_batches(2)))


def test_a_weight_without_a_term_is_found_once_both_players_train() -> None:
    """Missing discriminator terms in a warm-up are no mistake; the first batch with both players reveals one."""
    stages = (Stage("warm-up", discriminator=False, iterations=3), Stage())
    make_trainer(6).fit(make_tiny(stages=stages), loader(make_batches(6)))
    outputs = Outputs()
    with pytest.raises(ValueError, match="TinyGAN weighs style"):
        make_trainer(6, outputs).fit(make_tiny(stages=stages, weights=OneTooMany()), loader(make_batches(6)))
    assert len(outputs.seen) == 3


# Randomness ------------------------------------------------------------------------------------------------------------------


def fit_with_dropout(seed: int, global_seed: int) -> TinyGAN:
    model = make_tiny(seed=0, dropout=0.5)
    model.seed = seed
    torch.manual_seed(global_seed)  # must not matter
    make_trainer(4).fit(model, loader(make_batches(4)))
    return model


def test_dropout_depends_on_the_seed_alone() -> None:
    first, second = fit_with_dropout(5, global_seed=1), fit_with_dropout(5, global_seed=2)
    assert_same_state(first.state_dict(), second.state_dict())
    other = fit_with_dropout(6, global_seed=1)
    assert not torch.equal(first.generator[0].weight, other.generator[0].weight)


def test_derived_seeds_are_distinct() -> None:
    seeds = {inpainter._derive_seed(seed, iteration, rank) for seed in range(5) for iteration in range(5) for rank in range(5)}
    assert len(seeds) == 125


# The first batch -------------------------------------------------------------------------------------------------------------


class SaveAt(Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def broken(batch: Batch, **changes: Any) -> Batch:
    return {**batch, **changes}


def test_a_first_batch_that_breaks_the_contract_is_an_error() -> None:
    (batch,) = make_batches(1)
    for changes, message in (
        ({"image": batch["image"] * 255}, r"batch\['image'\] spans"),
        ({"image": batch["image"] * 2 - 1}, r"batch\['image'\] spans"),
        ({"mask": batch["mask"] * 0.5}, "between 0 and 1"),
        ({"mask": batch["mask"].repeat(1, 3, 1, 1)}, r"batch\['mask'\]"),
        ({"name": ["one"]}, "1 names for 2 images"),
    ):
        model = make_tiny()
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=message):
            make_trainer(1).fit(model, loader([broken(batch, **changes)]))
        assert_same_state(model.state_dict(), before)


def test_the_first_batch_of_a_resumed_run_is_checked_too(tmp_path: Path) -> None:
    good = make_batches(4)
    make_trainer(4, SaveAt(2, tmp_path / "2.ckpt")).fit(make_tiny(), loader(good))
    bad = [broken(batch, image=batch["image"] * 255) for batch in good]
    with pytest.raises(ValueError, match="spans"):
        make_trainer(4).fit(make_tiny(), loader(bad), ckpt_path=tmp_path / "2.ckpt", weights_only=True)


def test_the_mean_mask_ratio_is_reported_once(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    batches = make_batches(2)
    stages = (Stage(discriminator=False),)  # one player alone; the batch is checked all the same
    with caplog.at_level("INFO"):
        make_trainer(6).fit(make_tiny(stages=stages), loader(batches))
    captured = capsys.readouterr()
    assert (captured.out + captured.err + caplog.text).count("mean mask ratio 25.0% (1 = hole)") == 1


# What a paper may leave out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnlyL1:
    l1: float = 1.0


class Alone(Inpainter):
    """A paper without a discriminator, which is stated nowhere but in its constructor."""

    def __init__(self, width: int = 4, training: Training = NO_CLIPPING) -> None:
        super().__init__(OnlyL1(), Adam(), None, training)
        self.generator = nn.Conv2d(4, 3, 3, padding=1)
        self.discriminator = None

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        return Prediction(self.generator(torch.cat([image * (1 - mask), mask], dim=1)))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        return {"l1": (prediction.image - batch["image"]).abs().mean()}


def test_a_paper_without_a_discriminator(tmp_path: Path) -> None:
    model, outputs = Alone(), Outputs()
    before = model.generator.weight.detach().clone()
    trainer = make_trainer(3, outputs)
    trainer.fit(model, loader(make_batches(3)))
    assert trainer.global_step == 3
    assert set(outputs.seen[0]) == {"l1", "generator"}
    assert not torch.equal(model.generator.weight, before)
    trainer.save_checkpoint(tmp_path / "alone.ckpt")
    saved = torch.load(tmp_path / "alone.ckpt", weights_only=True)["lit_inpaint"]
    assert saved["settings"] == {"width": 4, "training": dataclasses.asdict(model.training_settings)}


def test_a_stage_for_a_missing_player_is_a_user_error() -> None:
    class Together(Alone):
        def stages(self) -> tuple[Stage, ...]:
            return (Stage("warm-up", discriminator=False, iterations=1), Stage("both"))

    with pytest.raises(UserError, match="stage 'both' trains the discriminator, but Together has none"):
        make_trainer(3).fit(Together(), loader(make_batches(3)))


def test_a_discriminator_needs_an_optimizer() -> None:
    with pytest.raises(ValueError, match="TinyGAN has a discriminator but no discriminator_optimizer"):
        make_trainer(1).fit(make_tiny(discriminator_optimizer=None), loader(make_batches(1)))


def test_the_run_ends_with_its_last_stage() -> None:
    model = make_tiny(stages=(Stage("warm-up", discriminator=False, iterations=2), Stage("both", iterations=3)))
    trainer = make_trainer(9)
    trainer.fit(model, loader(make_batches(9)))
    assert trainer.global_step == 5
    assert [model.stage_name(k) for k in range(6)] == ["warm-up", "warm-up", "both", "both", "both", "both"]
