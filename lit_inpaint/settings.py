"""Define the settings of training as frozen dataclasses, for YAML files, checkpoints and the engine.

`OptimizerSettings` builds an optimizer. `Training` sets clipping, accumulation and memory layout. `Stage` sets the players,
their update order, its duration, and overrides of loss weights and optimizers.
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
        """Build an optimizer of `parameters`. A scheduled learning rate is 0 until the engine sets it before each batch."""

    def options(self) -> dict[str, Any]:
        """Return all hyperparameters except the learning rate."""
        fields = dataclasses.fields(cast(Any, self))
        return {field.name: getattr(self, field.name) for field in fields if field.name != "lr"}

    def _arguments(self) -> dict[str, Any]:
        return {"lr": 0.0 if isinstance(self.lr, Schedule) else self.lr, **self.options()}


@dataclass(frozen=True)
class Adam(OptimizerSettings):
    """Adam (Kingma and Ba, 2015).

    Attributes:
        lr: learning rate, constant or a schedule.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the root of the latter.
        weight_decay: L2 penalty added to the gradient.
    """

    lr: Value = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Build a `torch.optim.Adam` of `parameters`."""
        return torch.optim.Adam(parameters, **self._arguments())


@dataclass(frozen=True)
class AdamW(OptimizerSettings):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    Attributes:
        lr: learning rate, constant or a schedule.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the root of the latter.
        weight_decay: fraction of each weight subtracted per step, times the learning rate.
    """

    lr: Value = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Build a `torch.optim.AdamW` of `parameters`."""
        return torch.optim.AdamW(parameters, **self._arguments())


@dataclass(frozen=True)
class SGD(OptimizerSettings):
    """Stochastic gradient descent.

    Attributes:
        lr: learning rate, constant or a schedule.
        momentum: fraction of the last step that is added to the next.
        nesterov: use Nesterov momentum.
        weight_decay: L2 penalty added to the gradient.
    """

    lr: Value = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Build a `torch.optim.SGD` of `parameters`."""
        return torch.optim.SGD(parameters, **self._arguments())


@dataclass(frozen=True)
class Adadelta(OptimizerSettings):
    """Adadelta (Zeiler, 2012).

    Attributes:
        lr: factor of the step that the method computes, constant or a schedule.
        rho: decay of the running means of the squared gradient and of the squared step.
        eps: added to both means before their roots.
        weight_decay: L2 penalty added to the gradient.
    """

    lr: Value = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Build a `torch.optim.Adadelta` of `parameters`."""
        return torch.optim.Adadelta(parameters, **self._arguments())


@dataclass(frozen=True)
class Training:
    """Set how the engine trains a paper; of these, only clipping changes the result of an update.

    Attributes:
        clip_generator: maximum norm of the generator's gradient; None: no clipping.
        clip_discriminator: maximum norm of the discriminator's gradient; None: no clipping.
        accumulate_generator: micro-batches into which a batch is split for the generator's update, to save memory. Their
            gradients add up to that of the batch if losses are means over the samples and the networks have no batch norm,
            dropout or spectral norm (which does a power iteration for each micro-batch).
        accumulate_discriminator: the same for the discriminator's update. A simultaneous update has one forward for both
            players and uses the larger of the two numbers.
        channels_last: keep convolution weights in NHWC order, which is faster on most machines.
        compile: compile generator and discriminator with `torch.compile` for training (`Inpainter.compiled_modules`). Results
            are equal but for rounding, and a run may resume compiled or not. The first batches take up to minutes.
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
                raise ValueError(f"{name}={getattr(self, name)}; give the number of micro-batches, 1 for the whole batch")


@dataclass(frozen=True)
class Stage:
    """A part of training with the same players, update order, loss weights and optimizers.

    Attributes:
        name: for the progress bar and the log.
        update: update order of the two players within one batch, see `lit_inpaint.engine.inpainter`.
        generator: whether the generator is trained.
        discriminator: whether the discriminator is trained.
        iterations: duration in batches. None (and no `epochs`): to the end of the run, for the last stage only.
        d_steps: discriminator updates per batch, all on this batch; more than one only in "alternating".
        generator_every: the generator is updated in every n-th batch of the stage only, the discriminator in each: n steps on
            n batches for each step of the generator; "alternating" only.
        recompute: in "generator_first", the discriminator learns from an image of the updated generator, which takes a
            second forward pass in training mode.
        epochs: duration in epochs, instead of `iterations`.
        weights: loss weights, by name, that override the paper's in this stage.
        generator_optimizer: overrides the paper's in this stage.
        discriminator_optimizer: overrides the paper's in this stage.
        fresh_optimizers: start with empty optimizer states. Otherwise the states of the stage before are kept, also where only
            hyperparameters change; an optimizer of another kind always starts empty.
        frozen: names of modules (`*` matches anything) that are not trained in this stage and run in evaluation mode, such as
            "generator.encoder.*.norm".
        mode: what the training forward pass computes in this stage, for papers with several networks (`Inpainter.modes`).
        eval_modules: names of modules in evaluation mode (batch norm uses its running statistics) whose weights are trained.
        leftover_gradients: the gradient of the generator's loss in the discriminator's weights is added to the discriminator's
            next update, as in public code that clears the discriminator's gradients too early; "alternating" only.
    """

    name: str = "adversarial"
    update: Update = "simultaneous"
    generator: bool = True
    discriminator: bool = True
    iterations: int | None = None
    d_steps: int = 1
    generator_every: int = 1
    recompute: bool = False
    epochs: int | None = None
    weights: dict[str, Value] = field(default_factory=dict)
    generator_optimizer: OptimizerSettings | None = None
    discriminator_optimizer: OptimizerSettings | None = None
    fresh_optimizers: bool = False
    frozen: tuple[str, ...] = ()
    mode: str | None = None
    eval_modules: tuple[str, ...] = ()
    leftover_gradients: bool = False

    def __post_init__(self) -> None:
        if not (self.generator or self.discriminator):
            raise ValueError(f"stage {self.name!r} has no player: set generator or discriminator to true")
        if self.iterations is not None and self.epochs is not None:
            raise ValueError(f"stage {self.name!r} has iterations={self.iterations} and epochs={self.epochs}; give one of them")
        for unit in ("iterations", "epochs"):
            length = getattr(self, unit)
            if length is not None and length < 1:
                raise ValueError(f"stage {self.name!r} lasts {length} {unit}; give 1 or more, or None for the rest")
        if self.d_steps < 1 or (self.d_steps > 1 and self.update != "alternating"):
            raise ValueError(f"stage {self.name!r}: d_steps={self.d_steps} needs update='alternating' (1 elsewhere)")
        if self.generator_every < 1:
            raise ValueError(f"stage {self.name!r}: generator_every={self.generator_every}; give 1 or more batches")
        if self.generator_every > 1 and (self.update != "alternating" or len(self.players) < 2):
            raise ValueError(
                f"stage {self.name!r}: generator_every={self.generator_every} needs update='alternating' and both players"
            )
        if self.leftover_gradients and (self.update != "alternating" or len(self.players) < 2):
            raise ValueError(f"stage {self.name!r}: leftover_gradients needs update='alternating' and both players")
        if self.recompute and self.update != "generator_first":
            raise ValueError(f"stage {self.name!r}: recompute needs update='generator_first'")

    @property
    def players(self) -> tuple[Player, ...]:
        """The players that this stage trains."""
        return tuple(player for player in ("generator", "discriminator") if getattr(self, player))


def plain(value: object) -> Plain:
    """Convert `value` to None, bool, int, float, str, list and dict, so that a checkpoint loads with `weights_only=True`.

    Raises:
        TypeError: for anything else, naming its type.
    """
    if value is None or type(value) in (bool, int, str):
        return cast(Plain, value)
    if isinstance(value, float):
        return float(value)  # numpy.float64 is a subclass of float, but loads only with `weights_only=False`
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, Schedule | OptimizerSettings):  # the field's type allows several classes
            return {"class_path": f"{type(value).__module__}.{type(value).__qualname__}", "init_args": cast(Plain, fields)}
        return cast(Plain, fields)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} is not plain data and cannot stand in a checkpoint's settings")
