"""Numbers that change while a run goes on: learning rates and loss weights.

Wherever a setting takes `Value`, it takes a plain number or one of the schedules here. A schedule is a pure function of the
position in the run, so nothing of it is saved, and a resumed run goes on with the value that an undisturbed one would have.

Its clock starts with what carries it: at the first batch of the run for the weights and optimizers of a paper, at the first
batch of the stage for those of a `Stage`. `by` says whether it counts batches or epochs (whole ones: within an epoch the value
stays). The first batch sees position 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

Unit = Literal["iteration", "epoch"]


@dataclass(frozen=True)
class Clock:
    """Where in its time a schedule is.

    Attributes:
        iteration: batches done since its beginning.
        length: batches from its beginning to the end of the run or stage; None if that has no end.
        per_epoch: batches in an epoch; None if the data has no length.
    """

    iteration: int
    length: int | None = None
    per_epoch: int | None = None

    def read(self, by: Unit) -> tuple[float, float | None]:
        """Position and length in batches or in epochs.

        Raises:
            ValueError: by epoch, but the data has no length.
        """
        if by == "iteration":
            return self.iteration, self.length
        if self.per_epoch is None:
            raise ValueError("a schedule by epoch needs training data of known length; state it by iteration")
        return self.iteration // self.per_epoch, None if self.length is None else self.length / self.per_epoch


class Schedule(ABC):
    """A number as a function of time."""

    @abstractmethod
    def at(self, clock: Clock) -> float:
        """The value for the batch that begins at `clock`."""


Value = float | Schedule


def value_at(value: Value, clock: Clock) -> float:
    """What a setting is worth at `clock`, constant or not."""
    return value.at(clock) if isinstance(value, Schedule) else float(value)


@dataclass(frozen=True)
class Linear(Schedule):
    """`start` for `hold` units, then in a straight line to `end`, and `end` from there on.

    `Linear(5.0)` is PEPSI's `5 (1 - k / k_max)`; `Linear(1e-4, hold=10, length=90, by="epoch")` is DeepGIN's learning rate.

    Attributes:
        start: first value.
        end: last value: zero, a floor, or a ceiling to warm up to.
        hold: units before the line begins.
        length: units that the line takes; None: the rest of the run or stage.
        by: the unit.
    """

    start: float
    end: float = 0.0
    hold: int = 0
    length: int | None = None
    by: Unit = "iteration"

    def __post_init__(self) -> None:
        _check_span(self, self.hold, self.length)

    def at(self, clock: Clock) -> float:
        """The value for the batch that begins at `clock`."""
        done = _share(self, clock, self.hold, self.length, self.by)
        return self.end if done >= 1 else self.start * (1 - done) + self.end * done  # exact at both ends


@dataclass(frozen=True)
class Cosine(Schedule):
    """`start` for `hold` units, then half a cosine wave down (or up) to `end` (Loshchilov and Hutter 2017, eq. 5, one period).

    Attributes:
        start: first value.
        end: last value.
        hold: units before the wave begins.
        length: units that the wave takes; None: the rest of the run or stage.
        by: the unit.
    """

    start: float
    end: float = 0.0
    hold: int = 0
    length: int | None = None
    by: Unit = "iteration"

    def __post_init__(self) -> None:
        _check_span(self, self.hold, self.length)

    def at(self, clock: Clock) -> float:
        """The value for the batch that begins at `clock`."""
        done = _share(self, clock, self.hold, self.length, self.by)
        left = (1 + math.cos(math.pi * done)) / 2
        return self.end if done >= 1 else self.start * left + self.end * (1 - left)  # exact at both ends


@dataclass(frozen=True)
class Steps(Schedule):
    """`start`, multiplied by `factor` at each of the milestones.

    `Steps(1e-4, milestones=(900_000,))` divides by 10 after 900,000 batches.

    Attributes:
        start: first value.
        factor: what each milestone multiplies by.
        milestones: positions, rising, in units; a milestone holds for the batch that begins there.
        by: the unit.
    """

    start: float
    factor: float = 0.1
    milestones: tuple[int, ...] = ()
    by: Unit = "iteration"

    def __post_init__(self) -> None:
        if not self.milestones or list(self.milestones) != sorted(set(self.milestones)) or self.milestones[0] < 1:
            raise ValueError(f"Steps: milestones={self.milestones}; give positions from 1 on, each above the one before")

    def at(self, clock: Clock) -> float:
        """The value for the batch that begins at `clock`."""
        position, _ = clock.read(self.by)
        return self.start * self.factor ** sum(position >= milestone for milestone in self.milestones)


def _share(schedule: Schedule, clock: Clock, hold: int, length: int | None, by: Unit) -> float:
    """How much of the way from start to end is done, in [0, 1]."""
    position, end = clock.read(by)
    if length is not None:
        span: float = length
    elif end is not None:
        span = end - hold
    else:
        raise ValueError(f"{schedule} needs a length, since the run has no end; give it one, or trainer.max_steps")
    done = position - hold
    if done <= 0:
        return 0.0
    return 1.0 if done >= span else done / span


def _check_span(schedule: Schedule, hold: int, length: int | None) -> None:
    if hold < 0 or (length is not None and length < 1):
        raise ValueError(
            f"{type(schedule).__name__}: hold={hold}, length={length}; give hold from 0 on, length from 1 on or None"
        )
