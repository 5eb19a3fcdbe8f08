"""Reference for the engine: training in plain PyTorch, one function per update order, compared bit for bit."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from tiny_gan import Outputs, loader, make_trainer
from torch import Tensor, nn

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.settings import Stage
from lit_inpaint.types import Batch, Prediction, Terms


class Caching(MixedPrecision):
    """PyTorch's default autocast: a context casts each weight once. Lightning 2.6 disables this cache."""

    def autocast_context_manager(self) -> torch.autocast:
        return torch.autocast(self.device, dtype=torch.bfloat16)


class Plain:
    """Two networks and two optimizers without the engine; `twin` provides the forward and the unweighted losses.

    A test applies the overrides of stages by hand: `weights`, `opt_g`, `opt_d`, `clip_g`, `clip_d`, modes of `twin`.
    """

    def __init__(self, model: Inpainter, autocast: dict[str, Any] | None = None) -> None:
        self.twin = copy.deepcopy(model)
        self.twin.configure_model()  # the same kernels, so that results are equal in every bit
        assert self.twin.discriminator is not None
        self.g = list(self.twin.generator.parameters())
        self.d = list(self.twin.discriminator.parameters())
        self.opt_g = model.generator_optimizer.build(self.g)
        self.opt_d = model.discriminator_optimizer.build(self.d)
        self.finished: list[int] = []  # indices of the engine's optimizers that a stage has replaced
        self.clip_g = model.training_settings.clip_generator
        self.clip_d = model.training_settings.clip_discriminator
        self.weights = {field.name: getattr(model.weights, field.name) for field in dataclasses.fields(model.weights)}
        self.autocast = {"enabled": False} if autocast is None else autocast
        self.log: dict[str, Tensor] = {}
        self.norms: list[float] = []

    def autocast_context(self) -> torch.autocast:
        """Return a new context for each forward, so that no low-precision copy of a weight outlives it."""
        return torch.autocast("cpu", torch.bfloat16, **self.autocast)

    def predict(self, batch: Batch) -> Prediction:
        with self.autocast_context():
            return self.twin(batch["image"], batch["mask"])

    def total(self, player: str, terms: Terms) -> Tensor:
        wanted = {name: term for name, term in terms.items() if self.weights[name] != 0 or not callable(term)}
        values = {name: term() if callable(term) else term for name, term in wanted.items()}
        weighted = [self.weights[name] * value for name, value in values.items()]
        total = sum(weighted[1:], weighted[0])
        self.log |= {**values, player: total}
        return total

    def g_loss(self, batch: Batch, prediction: Prediction) -> Tensor:
        with self.autocast_context():
            return self.total("generator", self.twin.generator_losses(batch, prediction))

    def d_loss(self, batch: Batch, prediction: Prediction) -> Tensor:
        with self.autocast_context():
            terms = self.twin.discriminator_losses(batch, Prediction(prediction.image.detach()))
            return self.total("discriminator", terms)

    def grads(self, loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor | None]:
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        found = iter(torch.autograd.grad(loss, learning))
        return [next(found) if parameter.requires_grad else None for parameter in parameters]

    def g_grads(self, batch: Batch, prediction: Prediction) -> list[Tensor | None]:
        return self.grads(self.g_loss(batch, prediction), self.g)

    def d_grads(self, batch: Batch, prediction: Prediction) -> list[Tensor | None]:
        return self.grads(self.d_loss(batch, prediction), self.d)

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
    g_grads, d_grads = plain.g_grads(batch, prediction), plain.d_grads(batch, prediction)
    plain.step_g(g_grads)
    plain.step_d(d_grads)


def alternating(plain: Plain, batch: Batch, d_steps: int = 1) -> None:
    prediction = plain.predict(batch)
    for _ in range(d_steps):
        plain.step_d(plain.d_grads(batch, prediction))
    plain.step_g(plain.g_grads(batch, prediction))


def alternating_thrice(plain: Plain, batch: Batch) -> None:
    alternating(plain, batch, d_steps=3)


def only_discriminator_in_two_of_three(number: int) -> Step:
    return alternating if number % 3 == 2 else only_discriminator


def alternating_with_leftovers(plain: Plain, batch: Batch) -> None:
    """D's gradients are cleared after its step, so that its next update contains that of the generator's loss."""
    prediction = plain.predict(batch)
    plain.d_loss(batch, prediction).backward()
    plain.opt_d.step()
    plain.opt_d.zero_grad()
    plain.opt_g.zero_grad()
    plain.g_loss(batch, prediction).backward()
    plain.opt_g.step()


def generator_first(plain: Plain, batch: Batch) -> None:
    prediction = plain.predict(batch)
    plain.step_g(plain.g_grads(batch, prediction))
    plain.step_d(plain.d_grads(batch, prediction))


def generator_first_recomputed(plain: Plain, batch: Batch) -> None:
    plain.step_g(plain.g_grads(batch, plain.predict(batch)))
    with torch.no_grad():
        prediction = plain.predict(batch)
    plain.step_d(plain.d_grads(batch, prediction))


def only_generator(plain: Plain, batch: Batch) -> None:
    plain.step_g(plain.g_grads(batch, plain.predict(batch)))


def only_discriminator(plain: Plain, batch: Batch) -> None:
    plain.step_d(plain.d_grads(batch, plain.predict(batch)))


Step = Callable[[Plain, Batch], None]
Steps = Callable[[int], Step]
"""How to train on batch number k, from 0."""


def changing(change: Callable[[Plain, int], None], orders: Steps = lambda number: simultaneous) -> Steps:
    """Call `change` before each batch, then train in the update order that `orders` returns for it."""

    def steps(number: int) -> Step:
        def step(plain: Plain, batch: Batch) -> None:
            change(plain, number)
            orders(number)(plain, batch)

        return step

    return steps


ORDERS: dict[str, tuple[Stage, Step]] = {
    "simultaneous": (Stage(), simultaneous),
    "alternating": (Stage(update="alternating"), alternating),
    "alternating, D thrice": (Stage(update="alternating", d_steps=3), alternating_thrice),
    "generator first": (Stage(update="generator_first"), generator_first),
    "generator first, recomputed": (Stage(update="generator_first", recompute=True), generator_first_recomputed),
}

ALONE: dict[str, tuple[Stage, Step]] = {}
for _update in ("simultaneous", "alternating", "generator_first"):
    ALONE[f"only G, {_update}"] = (Stage(update=_update, discriminator=False), only_generator)
    ALONE[f"only D, {_update}"] = (Stage(update=_update, generator=False), only_discriminator)


def seed(plain: Plain, number: int) -> None:
    """Seed as the engine does: by the run's seed, the iteration and the rank."""
    torch.manual_seed(int(np.random.SeedSequence((plain.twin.seed, number, 0)).generate_state(1, np.uint64)[0]))


def run_plain(plain: Plain, batches: list[Batch], steps: Steps) -> list[dict[str, Tensor]]:
    """Train on `batches`; return the log of each."""
    logs = []
    for number, batch in enumerate(batches):
        seed(plain, number)
        plain.log = {}
        steps(number)(plain, batch)
        logs.append({name: value.detach() for name, value in plain.log.items()})
    return logs


def assert_same_state(ours: Any, theirs: Any, where: str = "") -> None:
    """Assert that two states have the same structure and are equal to the last bit."""
    if isinstance(ours, Tensor):
        assert torch.equal(ours, theirs), f"{where} differs by up to {(ours - theirs).abs().max():.3g}"
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_same_state(ours[key], theirs[key], f"{where}.{key}")
    else:
        assert ours == theirs, where


def assert_engine_is_plain(
    model: Inpainter,
    batches: list[Batch],
    steps: Steps,
    epoch: int | None = None,
    bf16: MixedPrecision | None = None,
) -> Plain:
    """Train `model`, repeat it in plain PyTorch, and compare weights, buffers, optimizers and losses.

    Args:
        model: not yet trained.
        batches: of the whole run.
        steps: how the plain loop trains on each; without losses in its log, none are compared.
        epoch: batches in an epoch, after which `batches` starts again; None: all.
        bf16: the engine's precision plugin for bf16.
    """
    plain = Plain(model, None if bf16 is None else {"cache_enabled": isinstance(bf16, Caching)})
    before, outputs = copy.deepcopy(model.state_dict()), Outputs()
    trainer = make_trainer(len(batches), outputs, plugins=[] if bf16 is None else [bf16])
    trainer.fit(model, loader(batches[:epoch]))
    logs = run_plain(plain, batches, steps)

    assert trainer.global_step == len(outputs.seen) == len(batches)
    assert_same_state(model.state_dict(), plain.twin.state_dict())
    assert_same_optimizers(trainer, plain)
    for number, (ours, theirs) in enumerate(zip(outputs.seen, logs, strict=True)):
        assert not theirs or ours.keys() == theirs.keys()
        assert_same_state({name: ours[name] for name in theirs}, theirs, f"losses of batch {number}")
        assert not any(value.requires_grad for value in ours.values())
    assert any(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()), "nothing was learned"
    return plain


def assert_same_optimizers(trainer: Trainer, plain: Plain) -> None:
    """Compare states and hyperparameters; the optimizers that a stage has replaced must have no state."""
    in_use = [optimizer for index, optimizer in enumerate(trainer.optimizers) if index not in plain.finished]
    for ours, theirs in zip(in_use, (plain.opt_g, plain.opt_d), strict=True):
        assert type(ours) is type(theirs)
        assert_same_state(ours.state_dict(), theirs.state_dict())
    assert all(not trainer.optimizers[index].state for index in plain.finished)


# Micro-batches ---------------------------------------------------------------------------------------------------------------


def micro_batches_of(batch: Batch, count: int) -> list[tuple[Batch, float]]:
    """Split a batch into `count` micro-batches whose sizes differ by at most 1, the larger last; each with its fraction."""
    total = len(batch["name"])
    count, micro_batches, begin = min(count, total), [], 0
    for number in range(count):
        size = total // count + (number >= count - total % count)
        cut = slice(begin, begin + size)
        micro = Batch(image=batch["image"][cut], mask=batch["mask"][cut], name=batch["name"][cut])
        micro_batches.append((micro, size / total))
        begin += size
    return micro_batches
