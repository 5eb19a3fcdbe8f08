"""Settings: frozen dataclasses that a YAML can state, a checkpoint can carry and the engine reads.

An optimizer setting knows how to build its optimizer; a `Stage` says who plays, in which order and for how long.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from torch import nn

Update = Literal["simultaneous", "alternating", "generator_first"]
Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


class OptimizerSettings(Protocol):
    """Anything that builds an optimizer over parameters."""

    @property
    def lr(self) -> float:
        """Learning rate."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimizer over `parameters`."""


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015).

    Attributes:
        lr: learning rate.
        betas: decay of the running mean and of the running square.
        eps: added to the root of the running square.
        weight_decay: L2 penalty added to the gradient.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh `torch.optim.Adam` over `parameters`."""
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Training:
    """How the engine runs a paper; nothing here changes what is learnt from a batch except the clipping.

    Attributes:
        clip_generator: gradient norm above which the generator's gradient is scaled down; None leaves it alone.
        clip_discriminator: the same for the discriminator.
        channels_last: keep convolution weights in NHWC order, which is the faster one on most machines.
    """

    clip_generator: float | None = None
    clip_discriminator: float | None = None
    channels_last: bool = True

    def __post_init__(self) -> None:
        for name in ("clip_generator", "clip_discriminator"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:  # Lightning takes 0 for "no limit"
                raise ValueError(f"{name}={limit}; give a norm above 0, or None for no limit")


@dataclass(frozen=True)
class Stage:
    """A stretch of training in which the same players play by the same rules.

    Attributes:
        name: shown in the progress bar and the log.
        update: order of the two players within one batch, see `lit_inpaint.engine`.
        generator: whether the generator learns.
        discriminator: whether the discriminator learns.
        iterations: batches this stage lasts; None lasts to the end of the run (only the last stage may).
        d_steps: discriminator steps per batch; more than one only in "alternating".
    """

    name: str = "adversarial"
    update: Update = "simultaneous"
    generator: bool = True
    discriminator: bool = True
    iterations: int | None = None
    d_steps: int = 1

    def __post_init__(self) -> None:
        if not (self.generator or self.discriminator):
            raise ValueError(f"stage {self.name!r} has no player: let the generator or the discriminator learn")
        if self.iterations is not None and self.iterations < 1:
            raise ValueError(f"stage {self.name!r} lasts {self.iterations} iterations; give 1 or more, or None for the rest")
        if self.d_steps < 1 or (self.d_steps > 1 and self.update != "alternating"):
            raise ValueError(f"stage {self.name!r}: d_steps={self.d_steps} needs update='alternating' (1 elsewhere)")


def stage_at(stages: tuple[Stage, ...], iteration: int) -> Stage:
    """The stage that batch number `iteration` (from 0) belongs to.

    Raises:
        ValueError: when an open-ended stage is not the last, or all stages are over by then.
    """
    if any(stage.iterations is None for stage in stages[:-1]):
        raise ValueError("only the last stage may leave its iterations open: " + ", ".join(s.name for s in stages))
    end = 0
    for stage in stages:
        end = end + stage.iterations if stage.iterations is not None else iteration + 1
        if iteration < end:
            return stage
    raise ValueError(f"iteration {iteration} lies behind the last stage, which ends at {end}; lower trainer.max_steps")


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
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} is not plain data and cannot stand in a checkpoint's settings")
