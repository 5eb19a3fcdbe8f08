"""The engine against plain PyTorch loops written here, bit for bit; and its other promises."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins import MixedPrecision
from tiny_gan import NO_CLIPPING, Outputs, TinyGAN, TinyWeights, loader, make_batches, make_tiny, make_trainer
from torch import Tensor, nn

from lit_inpaint import engine
from lit_inpaint.callbacks import TrainingLog
from lit_inpaint.engine import Inpainter, frozen
from lit_inpaint.papers import LPINet
from lit_inpaint.settings import Adam, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, UserError

# The reference: plain PyTorch, one function per update order -----------------------------------------------------------------


class Plain:
    """Two networks, two optimizers, and no engine: `twin` only lends its forward and its unweighted losses."""

    def __init__(self, model: Inpainter) -> None:
        self.twin = copy.deepcopy(model)
        self.g = list(self.twin.generator.parameters())
        assert self.twin.discriminator is not None
        self.d = list(self.twin.discriminator.parameters())
        self.opt_g = torch.optim.Adam(self.g, lr=model.generator_optimizer.lr, betas=model.generator_optimizer.betas)
        self.opt_d = torch.optim.Adam(self.d, lr=model.discriminator_optimizer.lr, betas=model.discriminator_optimizer.betas)
        self.clip_g = model.training_settings.clip_generator
        self.clip_d = model.training_settings.clip_discriminator
        self.log: dict[str, Tensor] = {}
        self.norms: list[float] = []

    def predict(self, batch: Batch) -> Prediction:
        return self.twin(batch["image"], batch["mask"])

    def g_loss(self, batch: Batch, prediction: Prediction) -> Tensor:
        terms, weights = self.twin.generator_losses(batch, prediction), self.twin.weights
        total = weights.l1 * terms["l1"] + weights.adversarial * terms["adversarial"]
        self.log |= {**terms, "generator": total}
        return total

    def d_loss(self, batch: Batch, prediction: Prediction) -> Tensor:
        terms, weights = self.twin.discriminator_losses(batch, Prediction(prediction.image.detach())), self.twin.weights
        total = weights.real * terms["real"] + weights.fake * terms["fake"]
        self.log |= {**terms, "discriminator": total}
        return total

    def step(self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], grads: Any, clip: float | None) -> None:
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        if clip is not None:
            self.norms.append(float(nn.utils.clip_grad_norm_(parameters, clip)))
        optimizer.step()

    def step_g(self, grads: Any) -> None:
        self.step(self.opt_g, self.g, grads, self.clip_g)

    def step_d(self, grads: Any) -> None:
        self.step(self.opt_d, self.d, grads, self.clip_d)


def simultaneous(plain: Plain, batch: Batch) -> None:
    prediction = plain.predict(batch)
    g_grads = torch.autograd.grad(plain.g_loss(batch, prediction), plain.g)
    d_grads = torch.autograd.grad(plain.d_loss(batch, prediction), plain.d)
    plain.step_g(g_grads)
    plain.step_d(d_grads)


def alternating(plain: Plain, batch: Batch, d_steps: int = 1) -> None:
    prediction = plain.predict(batch)
    for _ in range(d_steps):
        plain.step_d(torch.autograd.grad(plain.d_loss(batch, prediction), plain.d))
    plain.step_g(torch.autograd.grad(plain.g_loss(batch, prediction), plain.g))


def generator_first(plain: Plain, batch: Batch) -> None:
    prediction = plain.predict(batch)
    plain.step_g(torch.autograd.grad(plain.g_loss(batch, prediction), plain.g))
    plain.step_d(torch.autograd.grad(plain.d_loss(batch, prediction), plain.d))


def only_generator(plain: Plain, batch: Batch) -> None:
    plain.step_g(torch.autograd.grad(plain.g_loss(batch, plain.predict(batch)), plain.g))


def only_discriminator(plain: Plain, batch: Batch) -> None:
    plain.step_d(torch.autograd.grad(plain.d_loss(batch, plain.predict(batch)), plain.d))


Step = Callable[[Plain, Batch], None]


def run_plain(plain: Plain, batches: list[Batch], step: Callable[[int], Step]) -> list[dict[str, Tensor]]:
    logs = []
    for number, batch in enumerate(batches):
        # What the engine promises: randomness is a function of seed, iteration and rank.
        torch.manual_seed(int(np.random.SeedSequence((plain.twin.seed, number, 0)).generate_state(1, np.uint64)[0]))
        plain.log = {}
        step(number)(plain, batch)
        logs.append({name: value.detach() for name, value in plain.log.items()})
    return logs


def assert_same_state(ours: Any, theirs: Any, where: str = "") -> None:
    """Equal to the last bit, and of the same structure."""
    if isinstance(ours, Tensor):
        assert torch.equal(ours, theirs), f"{where} differs by up to {(ours - theirs).abs().max():.3g}"
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_same_state(ours[key], theirs[key], f"{where}.{key}")
    else:
        assert ours == theirs, where


def assert_engine_is_plain(model: Inpainter, batches: list[Batch], step: Callable[[int], Step]) -> Plain:
    plain = Plain(model)
    before = copy.deepcopy(model.state_dict())
    outputs = Outputs()
    trainer = make_trainer(len(batches), outputs)
    trainer.fit(model, loader(batches))
    logs = run_plain(plain, batches, step)

    assert trainer.global_step == len(batches)
    assert_same_state(model.state_dict(), plain.twin.state_dict())
    for ours, theirs in zip(trainer.optimizers, (plain.opt_g, plain.opt_d), strict=True):
        assert_same_state(ours.state_dict()["state"], theirs.state_dict()["state"])
    assert len(outputs.seen) == len(batches)
    for number, (ours, theirs) in enumerate(zip(outputs.seen, logs, strict=True)):
        assert_same_state(ours, theirs, f"losses of batch {number}")
        assert not any(value.requires_grad for value in ours.values())
    assert any(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()), "nothing was learnt"
    return plain


MODES: dict[str, tuple[tuple[Stage, ...], Callable[[int], Step]]] = {
    "simultaneous": ((Stage(),), lambda number: simultaneous),
    "alternating": ((Stage(update="alternating"),), lambda number: alternating),
    "alternating, D thrice": (
        (Stage(update="alternating", d_steps=3),),
        lambda number: lambda plain, batch: alternating(plain, batch, 3),
    ),
    "generator first": ((Stage(update="generator_first"),), lambda number: generator_first),
    "two stages": (
        (Stage("warm-up", discriminator=False, iterations=5), Stage("adversarial")),
        lambda number: only_generator if number < 5 else simultaneous,
    ),
}
for _update in ("simultaneous", "alternating", "generator_first"):
    MODES[f"only G, {_update}"] = ((Stage(update=_update, discriminator=False),), lambda number: only_generator)
    MODES[f"only D, {_update}"] = ((Stage(update=_update, generator=False),), lambda number: only_discriminator)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("mode", MODES)
def test_a_fit_is_the_plain_loop(mode: str, dropout: float) -> None:
    plan, step = MODES[mode]
    assert_engine_is_plain(make_tiny(seed=3, plan=plan, dropout=dropout), make_batches(20), step)


@pytest.mark.parametrize("mode", ["simultaneous", "alternating", "generator first"])
def test_clipping_is_per_player(mode: str) -> None:
    plan, step = MODES[mode]
    training = Training(clip_generator=0.5, clip_discriminator=0.02, channels_last=False)
    plain = assert_engine_is_plain(make_tiny(plan=plan, training=training), make_batches(20), step)
    assert max(plain.norms) > 0.5, "no gradient was ever clipped: the test compares nothing"


def test_one_player_clipped_leaves_the_other_alone() -> None:
    plan, step = MODES["simultaneous"]
    training = Training(clip_discriminator=0.01, channels_last=False)
    assert_engine_is_plain(make_tiny(plan=plan, training=training), make_batches(20), step)


def test_modes_differ() -> None:
    """So that the comparisons above can tell them apart."""
    after = {}
    for mode in ("simultaneous", "alternating", "alternating, D thrice", "generator first", "two stages"):
        model = make_tiny(plan=MODES[mode][0])
        make_trainer(6).fit(model, loader(make_batches(6)))
        after[mode] = torch.cat([p.detach().flatten() for p in model.parameters()])
    # D learns from the image that G made before its step, and G from D before its own: in other words, simultaneously.
    assert torch.equal(after.pop("generator first"), after["simultaneous"])
    modes = list(after)
    assert all(not torch.equal(after[a], after[b]) for i, a in enumerate(modes) for b in modes[:i])


@pytest.mark.parametrize("channels_last", [False, True])
def test_lpi_net_is_the_plain_loop(channels_last: bool) -> None:
    torch.manual_seed(0)
    model = LPINet(training=Training(channels_last=channels_last))
    if channels_last:  # as the engine would, but before the twin is made
        model.to(memory_format=torch.channels_last)
    assert_engine_is_plain(model, make_batches(5, size=32), lambda number: simultaneous)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert model.generator.stages[1][0].weight.is_contiguous(memory_format=layout)


def test_channels_last_is_the_default_and_changes_no_value() -> None:
    model = LPINet()
    before = copy.deepcopy(model.state_dict())
    model.configure_model()
    assert_same_state(model.state_dict(), before)
    assert model.generator.stages[1][0].weight.is_contiguous(memory_format=torch.channels_last)


class Recorder(DummyLogger):
    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows[step] = metrics


@pytest.mark.parametrize("mode", ["simultaneous", "alternating, D thrice", "two stages"])
def test_logged_losses_are_those_of_the_loop(mode: str) -> None:
    plan, step = MODES[mode]
    model, batches, recorder = make_tiny(plan=plan), make_batches(20), Recorder()
    plain = Plain(model)
    make_trainer(20, TrainingLog(), logger=recorder, log_every_n_steps=2).fit(model, loader(batches))
    logs = run_plain(plain, batches, step)
    assert list(recorder.rows) == list(range(2, 21, 2))
    for number, row in recorder.rows.items():
        expected = {f"train/{name}": float(value) for name, value in logs[number - 1].items()}
        assert {name: row[name] for name in expected} == expected
        assert row.keys() - expected.keys() == {"train/lr_generator", "train/lr_discriminator", "train/images_per_second"}
        assert (row["train/lr_generator"], row["train/lr_discriminator"]) == (1e-2, 2e-2)


# Who gets whose gradient -----------------------------------------------------------------------------------------------------


def test_the_generators_loss_leaves_the_discriminators_gradient_alone() -> None:
    """Alternating: after the batch, D.grad is that of D's own turn."""
    model, (batch,) = make_tiny(plan=(Stage(update="alternating"),)), make_batches(1)
    plain = Plain(model)
    make_trainer(1).fit(model, loader([batch]))
    own = torch.autograd.grad(plain.d_loss(batch, plain.predict(batch)), plain.d)
    assert model.discriminator is not None
    for (name, parameter), expected in zip(model.discriminator.named_parameters(), own, strict=True):
        assert parameter.grad is not None, name
        assert torch.equal(parameter.grad, expected), name


@pytest.mark.parametrize("update", ["simultaneous", "alternating", "generator_first"])
def test_a_resting_player_gets_no_gradient(update: Any) -> None:
    model = make_tiny(plan=(Stage(update=update, discriminator=False),))
    make_trainer(2).fit(model, loader(make_batches(2)))
    assert model.discriminator is not None
    assert all(p.grad is None for p in model.discriminator.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_frozen_passes_gradients_through_but_not_into() -> None:
    layer, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        loss = layer(x).sum()
    loss.backward()
    assert torch.equal(x.grad, layer.weight)
    assert layer.weight.grad is None
    assert layer.weight.requires_grad


def test_frozen_restores_exactly_what_it_found() -> None:
    layer = nn.Linear(2, 1)
    layer.bias.requires_grad_(False)
    with frozen(layer):
        assert not layer.weight.requires_grad
    assert (layer.weight.requires_grad, layer.bias.requires_grad) == (True, False)
    with pytest.raises(KeyError), frozen(layer):
        raise KeyError
    assert (layer.weight.requires_grad, layer.bias.requires_grad) == (True, False)
    with frozen(None):
        pass


# Weights and terms -----------------------------------------------------------------------------------------------------------


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


def test_a_weight_without_a_term_is_found_once_both_play() -> None:
    """A warm-up has no discriminator terms; that is no mistake. The first batch with both players tells."""
    plan = (Stage("warm-up", discriminator=False, iterations=3), Stage())
    make_trainer(6).fit(make_tiny(plan=plan), loader(make_batches(6)))
    outputs = Outputs()
    with pytest.raises(ValueError, match="TinyGAN weighs style"):
        make_trainer(6, outputs).fit(make_tiny(plan=plan, weights=OneTooMany()), loader(make_batches(6)))
    assert len(outputs.seen) == 3


# Randomness ------------------------------------------------------------------------------------------------------------------


def fit_with_dropout(seed: int, disturbance: int) -> TinyGAN:
    model = make_tiny(seed=0, dropout=0.5)
    model.seed = seed
    torch.manual_seed(disturbance)  # whatever happened before the fit must not matter
    make_trainer(4).fit(model, loader(make_batches(4)))
    return model


def test_the_seed_decides_the_dropout() -> None:
    first, second = fit_with_dropout(5, disturbance=1), fit_with_dropout(5, disturbance=2)
    assert_same_state(first.state_dict(), second.state_dict())
    other = fit_with_dropout(6, disturbance=1)
    assert not torch.equal(first.generator[0].weight, other.generator[0].weight)


class SaveAt(Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def test_dropout_is_repeated_from_a_checkpoint(tmp_path: Path) -> None:
    """Batch k draws by (seed, k): no generator state is saved, and none is needed."""
    batch = make_batches(1) * 6  # one batch over and over, so that only the dropout tells iterations apart
    whole, whole_outputs = make_tiny(seed=9, dropout=0.5), Outputs()
    trainer = make_trainer(6, whole_outputs, SaveAt(3, tmp_path / "3.ckpt"))
    trainer.fit(whole, loader(batch))

    resumed, outputs = make_tiny(seed=1, dropout=0.5), Outputs()  # other weights and another seed: the checkpoint brings both
    torch.manual_seed(12345)
    second = make_trainer(6, outputs)
    second.fit(resumed, loader(batch), ckpt_path=tmp_path / "3.ckpt", weights_only=True)
    assert resumed.seed == 9
    assert second.global_step == 6
    assert [o["l1"].item() for o in outputs.seen] == [o["l1"].item() for o in whole_outputs.seen[3:]]
    assert_same_state(resumed.state_dict(), whole.state_dict())
    for ours, theirs in zip(second.optimizers, trainer.optimizers, strict=True):
        assert_same_state(ours.state_dict()["state"], theirs.state_dict()["state"])


# Refusals --------------------------------------------------------------------------------------------------------------------


def broken(batch: Batch, **changes: Any) -> Batch:
    return {**batch, **changes}


def test_a_first_batch_against_the_contract_is_reported() -> None:
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


def test_the_hole_share_is_reported_once(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    batches = make_batches(2)
    plan = (Stage(discriminator=False),)  # the players never meet; the batch is checked all the same
    with caplog.at_level("INFO"):
        make_trainer(6).fit(make_tiny(plan=plan), loader(batches))
    captured = capsys.readouterr()
    assert (captured.out + captured.err + caplog.text).count("mean hole share 25.0% (1 = hole)") == 1


def fp16() -> MixedPrecision:
    """What `precision="16-mixed"` means on a GPU; on the CPU, Lightning would quietly take bf16 instead."""
    return MixedPrecision("16-mixed", "cpu")


def test_fp16_refuses_one_backward_for_two_optimizers() -> None:
    model = make_tiny()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match=r"16-mixed .* simultaneous .* bf16-mixed or 32-true"):
        make_trainer(2, plugins=[fp16()]).fit(model, loader(make_batches(2)))
    assert_same_state(model.state_dict(), before)


@pytest.mark.parametrize("stage", [Stage(discriminator=False), Stage(update="alternating"), Stage(update="generator_first")])
def test_fp16_is_welcome_where_it_is_right(stage: Stage) -> None:
    outputs = Outputs()
    make_trainer(3, outputs, plugins=[fp16()]).fit(make_tiny(plan=(stage,)), loader(make_batches(3)))
    assert all(torch.isfinite(value) for seen in outputs.seen for value in seen.values())


def test_fp16_clips_the_true_gradient() -> None:
    """Not the one the scaler has multiplied by 65,536, which is always above the limit."""
    batches, after = make_batches(4), {}
    for clip in (None, 100.0):
        model = make_tiny(
            plan=(Stage(update="alternating"),),
            training=Training(clip_generator=clip, clip_discriminator=clip, channels_last=False),
        )
        trainer = make_trainer(4, plugins=[fp16()])
        trainer.fit(model, loader(batches))
        after[clip] = [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]
    assert float(after[None][0][0]["step"]) > 0, "the scaler skipped every step: the test compares nothing"
    for unclipped, unreached in zip(after[None], after[100.0], strict=True):
        assert_same_state(dict(unreached), dict(unclipped))


@pytest.mark.parametrize("update", ["simultaneous", "alternating", "generator_first"])
def test_bf16_gives_finite_losses_and_float_weights(update: Any) -> None:
    outputs, model = Outputs(), make_tiny(plan=(Stage(update=update),))
    before = copy.deepcopy(model.state_dict())
    make_trainer(4, outputs, precision="bf16-mixed").fit(model, loader(make_batches(4)))
    assert len(outputs.seen) == 4
    assert all(torch.isfinite(value) for seen in outputs.seen for value in seen.values())
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in model.parameters())
    assert not torch.equal(model.generator[0].weight, before["generator.0.weight"])


# complete() ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lpi() -> LPINet:
    torch.manual_seed(0)
    return LPINet().eval()


@pytest.mark.parametrize("size", [(37, 53), (1, 1), (64, 48)])
@pytest.mark.parametrize("hole", ["some", "all", "none"])
def test_complete_at_any_size(lpi: LPINet, size: tuple[int, int], hole: str) -> None:
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, *size, generator=rng)
    mask = {"some": (torch.rand(2, 1, *size, generator=rng) < 0.4).float()}.get(
        hole, torch.full((2, 1, *size), float(hole == "all"))
    )
    kept = image.clone(), mask.clone()
    done = lpi.complete(image, mask)
    assert done.shape == image.shape
    assert done.dtype == image.dtype
    assert not done.requires_grad
    assert done.min() >= 0
    assert done.max() <= 1
    known = (mask == 0).expand_as(image)
    assert torch.equal(done[known], image[known])
    assert torch.equal(image, kept[0]), "a batch is never changed in place"
    assert torch.equal(mask, kept[1])
    if hole != "none":
        assert not torch.equal(done, image)
    filled = torch.where(mask > 0.5, torch.full_like(image, 0.123), image)
    assert torch.equal(lpi.complete(filled, mask), done), "what the holes hold is ignored"


def test_complete_is_the_clamped_composite() -> None:
    model = make_tiny().eval()
    (batch,) = make_batches(1)
    with torch.no_grad():
        nn.init.constant_(model.generator[-1].bias, 2.0)
        raw = model(batch["image"], batch["mask"]).image
    assert raw.max() > 1
    expected = torch.where(batch["mask"] == 1, raw.clamp(0, 1), batch["image"])
    assert torch.equal(model.complete(batch["image"], batch["mask"]), expected)


def test_padding_goes_to_the_right_and_below(lpi: LPINet) -> None:
    image = torch.rand(1, 3, 37, 53, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(1, 1, 37, 53)
    mask[..., 5:20, 30:] = 1
    grown = torch.cat([image, image[..., -1:].expand(-1, -1, -1, 11)], dim=3)
    grown = torch.cat([grown, grown[..., -1:, :].expand(-1, -1, 11, -1)], dim=2)
    holes = torch.zeros(1, 1, 48, 64)
    holes[..., 5:20, 30:] = 1
    assert torch.equal(lpi.complete(image, mask), lpi.complete(grown, holes)[..., :37, :53])


# What a paper may leave out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnlyL1:
    l1: float = 1.0


class Alone(Inpainter):
    """A paper without a discriminator, and without saying so anywhere but in its constructor."""

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
    about = torch.load(tmp_path / "alone.ckpt", weights_only=True)["lit_inpaint"]
    assert about["settings"] == {"width": 4, "training": dataclasses.asdict(model.training_settings)}


def test_a_discriminator_needs_an_optimizer() -> None:
    with pytest.raises(ValueError, match="TinyGAN has a discriminator but no discriminator_optimizer"):
        make_trainer(1).fit(make_tiny(discriminator_optimizer=None), loader(make_batches(1)))


def test_stage_names_outlast_the_last_stage() -> None:
    model = make_tiny(plan=(Stage("warm-up", discriminator=False, iterations=2), Stage("both", iterations=3)))
    assert [model.stage_name(k) for k in range(6)] == ["warm-up", "warm-up", "both", "both", "both", "both"]
    with pytest.raises(ValueError, match="iteration 5 lies behind the last stage, which ends at 5"):
        make_trainer(6).fit(model, loader(make_batches(6)))


def test_seeds_are_mixed_not_added() -> None:
    seeds = {engine._mix(seed, iteration, rank) for seed in range(5) for iteration in range(5) for rank in range(5)}
    assert len(seeds) == 125
