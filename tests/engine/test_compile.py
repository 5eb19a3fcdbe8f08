"""`training.compile`: the networks are compiled in place, for training, validation and EMA; failures are one line."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_gan import Outputs, TinyGAN, loader, make_batches, make_tiny, make_trainer
from tiny_runs import assert_same, content, run_small

import lit_inpaint
from lit_inpaint.callbacks import GeneratorEMA
from lit_inpaint.engine.compilation import is_compiled
from lit_inpaint.errors import UserError
from lit_inpaint.settings import SGD, Stage, Training

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs: no g++ here"
)


class Validations(Callback):
    """Record the output of validations, and whether compiled code computed it."""

    def __init__(self) -> None:
        self.images: list[torch.Tensor] = []
        self.compiled: list[bool] = []

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *rest: Any) -> None:
        self.images.append(outputs["image"])
        self.compiled.append(is_compiled(pl_module.generator) and is_compiled(pl_module.discriminator))


@pytest.fixture
def without_generated_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace the networks as `torch.compile` does, but run PyTorch's own operations, which takes no compiler and less time."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


def fit(compiled: bool) -> tuple[TinyGAN, Outputs, GeneratorEMA, Validations]:
    model = make_tiny(
        training=Training(compile=compiled, channels_last=False),
        generator_optimizer=SGD(0.1),
        discriminator_optimizer=SGD(0.1),
        stages=(Stage(update="alternating"),),
    )
    outputs, ema, validations = Outputs(), GeneratorEMA(0.9), Validations()
    trainer = make_trainer(
        6, outputs, ema, validations, val_check_interval=3, check_val_every_n_epoch=None, num_sanity_val_steps=0
    )
    trainer.fit(model, loader(make_batches(6)), loader(make_batches(1)))
    return model, outputs, ema, validations


@needs_compiler
def test_a_compiled_run_is_close_to_an_eager_one() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    (eager, eager_log, eager_ema, eager_val), (model, log, ema, val) = fit(compiled=False), fit(compiled=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1, "both networks are compiled"
    assert (eager_val.compiled, val.compiled) == ([False] * 2, [True] * 2)
    assert not is_compiled(model), "after the run"
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


@pytest.mark.usefixtures("without_generated_code")
def test_a_run_resumes_compiled_and_not_and_its_checkpoint_loads_as_ever(tmp_path: Path) -> None:
    """Traced operations are those of the eager run, so the end is equal bit for bit."""
    compiled, short = ("--model.training.compile", "true"), ("--trainer.max_steps", "4")
    assert run_small(tmp_path / "eager") == 0
    for first, second in (((), compiled), (compiled, ())):
        folder = tmp_path / f"resumed {len(first)}"
        assert run_small(folder, *short, *first) == 0
        assert run_small(folder, *second) == 0
        for name in ("state_dict", "optimizer_states", "callbacks"):
            assert_same(content(folder)[name], content(tmp_path / "eager")[name], name)
    model = lit_inpaint.load(tmp_path / "resumed 2" / "checkpoints" / "last.ckpt")
    assert not is_compiled(model)


def test_without_a_compiler_the_run_ends_with_one_line_before_its_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: Any, **options: Any) -> Any:
        raise RuntimeError("No working C++ compiler found in x\nmore")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UserError) as raised:
        fit(compiled=True)
    assert str(raised.value) == (
        "--model.training.compile true: torch.compile does not work here (RuntimeError: No working C++ compiler found in x); "
        "it needs g++ and a C compiler; install them, or use --model.training.compile false"
    )


def test_a_network_that_cannot_be_compiled_ends_the_run_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        calls.append(graph)
        if len(calls) == 1:  # of the function that tries the compiler
            return graph.forward
        raise ValueError("this operator is unknown")

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    message = (
        "torch.compile fails for the networks of TinyGAN .* this operator is unknown.*; use --model.training.compile false"
    )
    with pytest.raises(UserError, match=message):
        fit(compiled=True)
