"""`training.compile`: the generator is compiled in place, for training, validation and EMA."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_gan import Outputs, TinyGAN, loader, make_batches, make_tiny, make_trainer

from lit_inpaint.callbacks import GeneratorEMA
from lit_inpaint.settings import SGD, Training

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs: no g++ here")


class Validations(Callback):
    """Record the output of validations, and whether compiled code computed it."""

    def __init__(self) -> None:
        self.images: list[torch.Tensor] = []
        self.compiled: list[bool] = []

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *rest: Any) -> None:
        self.images.append(outputs["image"])
        self.compiled.append(pl_module.generator._compiled_call_impl is not None)


def fit(compiled: bool) -> tuple[TinyGAN, Outputs, GeneratorEMA, Validations]:
    model = make_tiny(training=Training(compile=compiled, channels_last=False), generator_optimizer=SGD(0.1))
    outputs, ema, validations = Outputs(), GeneratorEMA(0.9), Validations()
    trainer = make_trainer(
        6, outputs, ema, validations, val_check_interval=3, check_val_every_n_epoch=None, num_sanity_val_steps=0
    )
    trainer.fit(model, loader(make_batches(6)), loader(make_batches(1)))
    return model, outputs, ema, validations


def test_a_compiled_run_is_close_to_an_eager_one() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    (eager, eager_log, eager_ema, eager_val), (model, log, ema, val) = fit(compiled=False), fit(compiled=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    assert (eager_val.compiled, val.compiled) == ([False] * 2, [True] * 2)
    assert model.state_dict().keys() == eager.state_dict().keys()
    assert type(model.generator) is torch.nn.Sequential
    for ours, theirs in ((model.state_dict(), eager.state_dict()), (ema.weights, eager_ema.weights)):
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    for ours, theirs in zip(log.seen, eager_log.seen, strict=True):
        assert {name: float(value) for name, value in ours.items()} == pytest.approx(
            {name: float(value) for name, value in theirs.items()}, rel=1e-4
        )
    for image, expected in zip(val.images, eager_val.images, strict=True):
        torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-5)
