"""Each update order against its plain PyTorch loop, bit for bit; and which gradients a player gets."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from plain_loop import (
    ALONE,
    ORDERS,
    Plain,
    Steps,
    alternating,
    alternating_with_leftovers,
    assert_engine_is_plain,
    assert_same_state,
    only_discriminator,
    only_discriminator_in_two_of_three,
    only_generator,
    run_plain,
    simultaneous,
)
from tiny_gan import loader, make_batches, make_tiny, make_trainer

from lit_inpaint.callbacks import TrainingLog
from lit_inpaint.papers import LPINet
from lit_inpaint.settings import Stage, Training

LEFTOVERS = Stage(update="alternating", leftover_gradients=True)
WARM_UP = (Stage("warm-up", discriminator=False, iterations=5), Stage("adversarial"))
MODES: dict[str, tuple[tuple[Stage, ...], Steps]] = {
    **{name: ((stage,), lambda number, step=step: step) for name, (stage, step) in (ORDERS | ALONE).items()},
    "alternating, leftover gradients": ((LEFTOVERS,), lambda number: alternating_with_leftovers),
    "alternating, G every third batch": (
        (Stage(update="alternating", generator_every=3),),
        only_discriminator_in_two_of_three,
    ),
    "two stages, G every second batch": (
        (WARM_UP[0], Stage(update="alternating", generator_every=2)),
        lambda number: only_generator if number < 5 else alternating if number % 2 == 0 else only_discriminator,
    ),
    "two stages": (WARM_UP, lambda number: only_generator if number < 5 else simultaneous),
}


@pytest.mark.parametrize("mode", MODES)
def test_training_equals_the_plain_loop(mode: str) -> None:
    stages, step = MODES[mode]
    assert_engine_is_plain(make_tiny(seed=3, stages=stages, dropout=0.5), make_batches(20), step)


def test_saved_leftovers_are_without_the_bucket_in_which_ddp_keeps_gradients() -> None:
    model = make_tiny()
    assert model.discriminator is not None
    bucket = torch.rand(10_000)
    for parameter in model.discriminator.parameters():
        parameter.grad = bucket[: parameter.numel()].view_as(parameter)
    with mock.patch.object(model, "_keeps_leftovers", return_value=True):
        saved = model._leftovers()
    assert saved.keys() == dict(model.discriminator.named_parameters()).keys()
    assert all(gradient.untyped_storage().nbytes() == 4 * gradient.numel() for gradient in saved.values())


@pytest.mark.parametrize("mode", ["simultaneous", "alternating", "generator first"])
def test_clipping_is_per_player(mode: str) -> None:
    stages, step = MODES[mode]
    training = Training(clip_generator=0.5, clip_discriminator=0.02, channels_last=False)
    plain = assert_engine_is_plain(make_tiny(stages=stages, training=training), make_batches(20), step)
    assert max(plain.norms) > 0.5, "no gradient was ever clipped: the test compares nothing"


def test_clipping_one_player_does_not_change_the_other() -> None:
    stages, step = MODES["simultaneous"]
    training = Training(clip_discriminator=0.01, channels_last=False)
    assert_engine_is_plain(make_tiny(stages=stages, training=training), make_batches(20), step)


def test_update_orders_differ() -> None:
    """So that the comparisons above can fail."""
    after = {}
    for mode in set(MODES) - set(ALONE):
        model = make_tiny(stages=MODES[mode][0])
        make_trainer(6).fit(model, loader(make_batches(6)))
        after[mode] = torch.cat([p.detach().flatten() for p in model.parameters()])
    # D learns from the image that G made before its step, and G from D before D's step: the same as simultaneous.
    assert torch.equal(after.pop("generator first"), after["simultaneous"])
    modes = list(after)
    assert all(not torch.equal(after[a], after[b]) for i, a in enumerate(modes) for b in modes[:i])


@pytest.mark.parametrize("channels_last", [False, True])
def test_lpi_net_equals_the_plain_loop(channels_last: bool) -> None:
    torch.manual_seed(0)
    model = LPINet(training=Training(channels_last=channels_last))
    model.configure_model()  # as Lightning would, but before the model is copied for the plain loop
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
    stages, step = MODES[mode]
    model, batches, recorder = make_tiny(stages=stages), make_batches(20), Recorder()
    plain = Plain(model)
    make_trainer(20, TrainingLog(), logger=recorder, log_every_n_steps=2).fit(model, loader(batches))
    logs = run_plain(plain, batches, step)
    assert list(recorder.rows) == list(range(2, 21, 2))
    for number, row in recorder.rows.items():
        expected = {f"train/{name}": float(value) for name, value in logs[number - 1].items()}
        assert {name: row[name] for name in expected} == expected
        assert row.keys() - expected.keys() == {
            f"train/{name}" for name in ("lr_generator", "lr_discriminator", "mask_ratio", "images_per_second")
        }
        assert (row["train/lr_generator"], row["train/lr_discriminator"]) == (1e-2, 2e-2)


# Gradients of each player -----------------------------------------------------------------------------------------------------


def test_the_generators_loss_does_not_change_the_discriminators_gradient() -> None:
    """Alternating: after the batch, D.grad is that of D's own update."""
    model, (batch,) = make_tiny(stages=(Stage(update="alternating"),)), make_batches(1)
    plain = Plain(model)
    make_trainer(1).fit(model, loader([batch]))
    own = plain.d_grads(batch, plain.predict(batch))
    assert model.discriminator is not None
    for (name, parameter), expected in zip(model.discriminator.named_parameters(), own, strict=True):
        assert parameter.grad is not None, name
        assert torch.equal(parameter.grad, expected), name


@pytest.mark.parametrize("update", ["simultaneous", "alternating", "generator_first"])
def test_a_player_that_is_not_trained_gets_no_gradient(update: Any) -> None:
    model = make_tiny(stages=(Stage(update=update, discriminator=False),))
    make_trainer(2).fit(model, loader(make_batches(2)))
    assert model.discriminator is not None
    assert all(p.grad is None for p in model.discriminator.parameters())
    assert all(p.requires_grad for p in model.parameters())
