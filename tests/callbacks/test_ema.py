"""The generator's EMA against a plain loop, and when its weights are swapped in."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_gan import TinyGAN, loader, make_batches, make_tiny, make_trainer
from torch import Tensor, nn

from lit_inpaint.callbacks import GeneratorEMA
from lit_inpaint.errors import UserError
from lit_inpaint.settings import Stage

State = dict[str, Tensor]


def snapshot(module: torch.nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Weights(Callback):
    """Records the generator's weights after each batch, in each validation batch, and after validation."""

    def __init__(self, break_at: int | None = None) -> None:
        self.trained: list[State] = []
        self.measured: list[State] = []
        self.after: list[State] = []
        self.break_at = break_at

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.trained.append(snapshot(pl_module.generator))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        self.measured.append(snapshot(pl_module.generator))
        if self.break_at == trainer.global_step:
            raise RuntimeError("the disk is full")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.after.append(snapshot(pl_module.generator))


VALIDATE = {"val_check_interval": 4, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}


def fit(model: TinyGAN, *callbacks: Callback, steps: int = 10, **options: Any) -> Trainer:
    trainer = make_trainer(steps, *callbacks, **{**VALIDATE, **options})
    trainer.fit(model, loader(make_batches(steps)), loader(make_batches(1)))
    return trainer


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("update", ["simultaneous", "alternating"])
def test_the_update_matches_the_formula(decay: float, update: Any) -> None:
    model = make_tiny(stages=(Stage(update=update),))
    expected = snapshot(model.generator)
    ema, weights = GeneratorEMA(decay), Weights()
    fit(model, ema, weights)
    for batch, state in enumerate(weights.trained, start=1):
        kept = min(decay, (1 + batch) / (10 + batch))
        for name, tensor in state.items():
            expected[name] = kept * expected[name] + (1 - kept) * tensor if tensor.is_floating_point() else tensor
    assert ema.updates == 10
    assert ema.weights.keys() == expected.keys()
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} <= expected.keys(), "buffers are averaged too"
    for name, tensor in expected.items():
        torch.testing.assert_close(ema.weights[name], tensor, rtol=1e-5, atol=1e-7, msg=name)
    assert int(ema.weights["1.num_batches_tracked"]) == 10
    assert same(ema.weights, weights.trained[-1]) == (decay == 0)


def test_the_initial_weights_do_not_remain_in_a_short_run() -> None:
    """With the constant decay of 0.999, 90 % of the initial weights would remain after 100 batches, 8 % after 2,500."""
    model, trainer, ema = make_tiny(), make_trainer(1), GeneratorEMA(0.999)
    name, parameter = next(iter(model.generator.named_parameters()))
    nn.init.ones_(parameter)
    ema.on_fit_start(trainer, model)
    nn.init.zeros_(parameter)
    for _ in range(100):
        ema.on_train_batch_end(trainer, model, None, None, 0)
    assert float(ema.weights[name].max()) < 1e-6
    ema.updates = 20_000
    ema.weights[name].fill_(1.0)
    ema.on_train_batch_end(trainer, model, None, None, 0)
    assert float(ema.weights[name].max()) == pytest.approx(0.999), "late in a run the decay is the setting's"


def test_ema_does_not_change_the_training() -> None:
    with_ema, without = make_tiny(), make_tiny()
    fit(with_ema, GeneratorEMA(0.9))
    fit(without)
    assert same(snapshot(with_ema), snapshot(without))


def test_validation_uses_ema_weights_and_training_the_raw_ones() -> None:
    model, ema, weights = make_tiny(), GeneratorEMA(0.9), Weights()
    ema_weights: list[State] = []

    class Recorder(Callback):
        def on_validation_batch_end(self, *arguments: Any) -> None:
            ema_weights.append({name: tensor.clone() for name, tensor in ema.weights.items()})

    fit(model, ema, weights, Recorder())
    assert len(weights.measured) == len(ema_weights) == len(weights.after) == 2
    for measured, ema_state, after, trained in zip(
        weights.measured, ema_weights, weights.after, weights.trained[3::4], strict=False
    ):
        assert same(measured, ema_state)
        assert not same(measured, trained)
        assert same(after, trained)
    assert same(snapshot(model.generator), weights.trained[-1])


def test_the_sanity_check_does_not_change_the_weights() -> None:
    model = make_tiny()
    plain = make_tiny()
    fit(model, GeneratorEMA(0.9), num_sanity_val_steps=1)
    fit(plain)
    assert same(snapshot(model), snapshot(plain))


def test_a_failed_validation_restores_the_raw_weights() -> None:
    model, ema, weights = make_tiny(), GeneratorEMA(0.9), Weights(break_at=4)
    with pytest.raises(RuntimeError, match="the disk is full"):
        fit(model, ema, weights)
    assert same(snapshot(model.generator), weights.trained[-1])
    assert not same(snapshot(model.generator), weights.measured[-1])


def test_a_failed_batch_leaves_the_raw_weights() -> None:
    """Outside a validation there is nothing to restore."""
    model, batches = make_tiny(), make_batches(4)
    batches[2] = {**batches[2], "mask": torch.zeros(1)}
    weights = Weights()
    with pytest.raises(RuntimeError):
        make_trainer(4, GeneratorEMA(0.9), weights).fit(model, loader(batches))
    assert same(snapshot(model.generator), weights.trained[-1])


def test_the_checkpoint_holds_raw_and_ema_weights(tmp_path: Path) -> None:
    model, ema = make_tiny(), GeneratorEMA(0.9)
    fit(model, ema).save_checkpoint(tmp_path / "ema.ckpt")
    content = torch.load(tmp_path / "ema.ckpt", weights_only=True)
    assert same(content["state_dict"], snapshot(model))
    state = content["callbacks"]["GeneratorEMA"]
    assert state.keys() == {"decay", "updates", "weights"}
    assert (state["decay"], state["updates"]) == (0.9, 10)
    assert same(state["weights"], ema.weights)


def test_resuming_restores_the_ema_weights(tmp_path: Path) -> None:
    batches = make_batches(1) * 10  # the same batch ten times: this loader cannot resume in the middle
    whole, model = GeneratorEMA(0.9), make_tiny()
    make_trainer(10, whole).fit(model, loader(batches))

    half = make_tiny()
    first = make_trainer(6, GeneratorEMA(0.9))
    first.fit(half, loader(batches))
    first.save_checkpoint(tmp_path / "6.ckpt")
    resumed = GeneratorEMA(0.9)
    make_trainer(10, resumed).fit(make_tiny(seed=5), loader(batches), ckpt_path=tmp_path / "6.ckpt", weights_only=True)
    assert resumed.updates == whole.updates == 10
    assert same(resumed.weights, whole.weights)


def test_ema_weights_do_not_share_memory_with_the_model() -> None:
    """With shared memory they would silently follow the raw weights."""
    model, ema = make_tiny(), GeneratorEMA(0.9)
    fit(model, ema, steps=2)
    before = copy.deepcopy(ema.weights)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert same(ema.weights, before)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_a_decay_outside_its_range_is_an_error(decay: float) -> None:
    with pytest.raises(UserError, match=f"ema decay is {decay}"):
        GeneratorEMA(decay)


def test_validation_without_training_uses_the_current_weights() -> None:
    """There are no EMA weights yet."""
    model, ema, weights = make_tiny(), GeneratorEMA(0.9), Weights()
    before = snapshot(model)
    make_trainer(1, ema, weights).validate(model, loader(make_batches(1)), verbose=False)
    assert len(weights.measured) == 1
    assert same(weights.measured[0], snapshot(model.generator))
    assert same(snapshot(model), before)
    assert (ema.weights, ema.updates) == ({}, 0)


def test_a_test_uses_ema_weights_as_a_validation_does() -> None:
    model, ema, weights = make_tiny(), GeneratorEMA(0.9), Weights()
    trainer = fit(model, ema, steps=3)
    raw = snapshot(model)
    outputs: list[Tensor] = []

    class Seen(Callback):
        def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outs: Any, *args: Any) -> None:
            outputs.append(outs["image"])
            weights.measured.append(snapshot(model.generator))

    trainer.callbacks.append(Seen())
    trainer.test(model, loader(make_batches(2)), verbose=False)
    assert len(outputs) == 2
    assert all(same(measured, ema.weights) for measured in weights.measured)
    assert not same(ema.weights, snapshot(model.generator))
    assert same(snapshot(model), raw)
