"""Settings: frozen dataclasses that a YAML can state, a checkpoint can carry and the engine reads.

An optimizer setting knows how to build its optimizer; a `Stage` says who plays, in which order, for how long and by which
weights and optimizers.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import nn

from lit_inpaint.schedules import Schedule, Value

Update = Literal["simultaneous", "alternating", "generator_first"]
Player = Literal["generator", "discriminator"]
Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


class OptimizerSettings(ABC):
    """An optimizer and its hyperparameters, named as PyTorch names them.

    Attributes:
        lr: learning rate, constant or a schedule.
    """

    lr: Value

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimizer over `parameters`. A scheduled learning rate is 0 until the engine sets it, before each batch."""

    def options(self) -> dict[str, Any]:
        """All hyperparameters but the learning rate."""
        fields = dataclasses.fields(cast(Any, self))
        return {field.name: getattr(self, field.name) for field in fields if field.name != "lr"}

    def _arguments(self) -> dict[str, Any]:
        return {"lr": 0.0 if isinstance(self.lr, Schedule) else self.lr, **self.options()}


@dataclass(frozen=True)
class Adam(OptimizerSettings):
    """Adam (Kingma and Ba, 2015).

    Attributes:
        lr: learning rate, constant or a schedule.
        betas: decay of the running mean and of the running square.
        eps: added to the root of the running square.
        weight_decay: L2 penalty added to the gradient.
    """

    lr: Value = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh `torch.optim.Adam` over `parameters`."""
        return torch.optim.Adam(parameters, **self._arguments())


@dataclass(frozen=True)
class AdamW(OptimizerSettings):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    Attributes:
        lr: learning rate, constant or a schedule.
        betas: decay of the running mean and of the running square.
        eps: added to the root of the running square.
        weight_decay: share of each weight taken away per step, times the learning rate.
    """

    lr: Value = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh `torch.optim.AdamW` over `parameters`."""
        return torch.optim.AdamW(parameters, **self._arguments())


@dataclass(frozen=True)
class SGD(OptimizerSettings):
    """Stochastic gradient descent.

    Attributes:
        lr: learning rate, constant or a schedule.
        momentum: share of the last step that is kept.
        nesterov: look ahead along the momentum.
        weight_decay: L2 penalty added to the gradient.
    """

    lr: Value = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh `torch.optim.SGD` over `parameters`."""
        return torch.optim.SGD(parameters, **self._arguments())


@dataclass(frozen=True)
class Training:
    """How the engine runs a paper; nothing here changes what is learnt from a batch except the clipping.

    Attributes:
        clip_generator: gradient norm above which the generator's gradient is scaled down; None leaves it alone.
        clip_discriminator: the same for the discriminator.
        accumulate_generator: parts that a batch is cut into for the generator's turn, to fit into less memory; the gradients of
            the parts add up to that of the batch, for losses that are means over the samples and networks without batch norm,
            dropout or spectral norm (which does a power iteration for each part).
        accumulate_discriminator: the same for the discriminator's turn. A simultaneous update has one forward for both players
            and takes the larger of the two.
        channels_last: keep convolution weights in NHWC order, which is the faster one on most machines.
        compile: compile the generator with `torch.compile` while training; pays on GPUs and in long runs.
    """

    clip_generator: float | None = None
    clip_discriminator: float | None = None
    accumulate_generator: int = 1
    accumulate_discriminator: int = 1
    channels_last: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("clip_generator", "clip_discriminator"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:  # Lightning takes 0 for "no limit"
                raise ValueError(f"{name}={limit}; give a norm above 0, or None for no limit")
        for name in ("accumulate_generator", "accumulate_discriminator"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; give the number of parts of a batch, 1 for the whole batch")


@dataclass(frozen=True)
class Stage:
    """A stretch of training in which the same players play by the same rules.

    Attributes:
        name: shown in the progress bar and the log.
        update: order of the two players within one batch, see `lit_inpaint.engine.inpainter`.
        generator: whether the generator learns.
        discriminator: whether the discriminator learns.
        iterations: batches this stage lasts; None (and no `epochs`) lasts to the end of the run, which only the last stage may.
        d_steps: discriminator steps per batch; more than one only in "alternating".
        epochs: the length in passes over the training data instead.
        weights: loss weights, by name, that differ from the paper's in this stage.
        generator_optimizer: replaces the paper's own in this stage.
        discriminator_optimizer: the same for the discriminator.
        fresh_optimizers: begin with empty optimizer states. Otherwise the states of the stage before are kept, also where only
            hyperparameters change; another kind of optimizer always begins afresh.
        frozen: names of modules (`*` stands for anything) that do not learn in this stage and run in evaluation mode, such as
            "generator.encoder.*.norm".
        evaluating: names of modules that run in evaluation mode (batch norm with its running statistics) but go on learning.
    """

    name: str = "adversarial"
    update: Update = "simultaneous"
    generator: bool = True
    discriminator: bool = True
    iterations: int | None = None
    d_steps: int = 1
    epochs: int | None = None
    weights: dict[str, Value] = field(default_factory=dict)
    generator_optimizer: OptimizerSettings | None = None
    discriminator_optimizer: OptimizerSettings | None = None
    fresh_optimizers: bool = False
    frozen: tuple[str, ...] = ()
    eval_modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.generator or self.discriminator):
            raise ValueError(f"stage {self.name!r} has no player: let the generator or the discriminator learn")
        if self.iterations is not None and self.epochs is not None:
            raise ValueError(f"stage {self.name!r} has iterations={self.iterations} and epochs={self.epochs}; give one of them")
        for unit in ("iterations", "epochs"):
            length = getattr(self, unit)
            if length is not None and length < 1:
                raise ValueError(f"stage {self.name!r} lasts {length} {unit}; give 1 or more, or None for the rest")
        if self.d_steps < 1 or (self.d_steps > 1 and self.update != "alternating"):
            raise ValueError(f"stage {self.name!r}: d_steps={self.d_steps} needs update='alternating' (1 elsewhere)")

    @property
    def players(self) -> tuple[Player, ...]:
        """Who learns."""
        return tuple(player for player in ("generator", "discriminator") if getattr(self, player))


def plain(value: object) -> Plain:
    """`value` as plain data (None, bool, int, float, str, list, dict), so that a checkpoint loads with `weights_only=True`.

    Raises:
        TypeError: for anything else, naming its type.
    """
    if value is None or type(value) in (bool, int, str):
        return cast(Plain, value)
    if isinstance(value, float):
        return float(value)  # numpy.float64 is a float, but loads only with `weights_only=False`
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, Schedule | OptimizerSettings):  # one of several classes may stand here
            return {"class_path": f"{type(value).__module__}.{type(value).__qualname__}", "init_args": cast(Plain, fields)}
        return cast(Plain, fields)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} is not plain data and cannot stand in a checkpoint's settings")
