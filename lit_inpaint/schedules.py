"""Schedule numbers that change during a run: learning rates and loss weights.

A setting of type `Value` takes a plain number or one of the schedules here. A schedule is a pure function of the position in
the run. It therefore has no state to save, and a resumed run continues with the value of the uninterrupted run.

A schedule of a paper starts at the first batch of the run, one of a `Stage` at the first batch of the stage. `by` selects
batches or whole epochs as the unit; by epoch, the value is constant within an epoch. The first batch has position 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

Unit = Literal["iteration", "epoch"]


@dataclass(frozen=True)
class Clock:
    """Position of a schedule.

    Attributes:
        iteration: completed batches since the start of the schedule.
        length: batches from the start of the schedule to the end of the run or stage; None without an end.
        per_epoch: batches in an epoch; None if the data has no length.
    """

    iteration: int
    length: int | None = None
    per_epoch: int | None = None

    def read(self, by: Unit) -> tuple[float, float | None]:
        """Return position and length in batches or in epochs.

        Raises:
            ValueError: by epoch, but the data has no length.
        """
        if by == "iteration":
            return self.iteration, self.length
        if self.per_epoch is None:
            raise ValueError("a schedule by epoch needs training data of known length; state it by iteration")
        return self.iteration // self.per_epoch, None if self.length is None else self.length / self.per_epoch


class Schedule(ABC):
    """A number as a function of the position in the run."""

    @abstractmethod
    def at(self, clock: Clock) -> float:
        """Return the value for the batch at `clock`."""


Value = float | Schedule


def value_at(value: Value, clock: Clock) -> float:
    """Return the value of a constant or a schedule at `clock`."""
    return value.at(clock) if isinstance(value, Schedule) else float(value)


@dataclass(frozen=True)
class Linear(Schedule):
    """Hold `start` for `hold` units, change linearly to `end`, and stay there.

    `Linear(5.0)` is PEPSI's `5 (1 - k / k_max)`; `Linear(1e-4, hold=10, length=90, by="epoch")` is DeepGIN's learning rate.

    Attributes:
        start: first value.
        end: last value; above `start` for a warm-up.
        hold: units before the change.
        length: units of the change; None: the rest of the run or stage.
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
        """Return the value for the batch at `clock`."""
        done = _progress(self, clock, self.hold, self.length, self.by)
        return self.end if done >= 1 else self.start * (1 - done) + self.end * done  # exact at both ends


@dataclass(frozen=True)
class Cosine(Schedule):
    """Hold `start` for `hold` units, then follow half a cosine period to `end` (Loshchilov and Hutter 2017, eq. 5).

    Attributes:
        start: first value.
        end: last value.
        hold: units before the change.
        length: units of the change; None: the rest of the run or stage.
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
        """Return the value for the batch at `clock`."""
        done = _progress(self, clock, self.hold, self.length, self.by)
        remaining = (1 + math.cos(math.pi * done)) / 2
        return self.end if done >= 1 else self.start * remaining + self.end * (1 - remaining)  # exact at both ends


@dataclass(frozen=True)
class Steps(Schedule):
    """Multiply `start` by `factor` at each of the milestones.

    `Steps(1e-4, milestones=(900_000,))` divides by 10 after 900,000 batches.

    Attributes:
        start: first value.
        factor: multiplier of each milestone.
        milestones: increasing positions in units; a milestone already applies to the batch at its position.
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
        """Return the value for the batch at `clock`."""
        position, _ = clock.read(self.by)
        return self.start * self.factor ** sum(position >= milestone for milestone in self.milestones)


def _progress(schedule: Schedule, clock: Clock, hold: int, length: int | None, by: Unit) -> float:
    """Return the completed fraction of the change, in [0, 1]."""
    position, end = clock.read(by)
    if length is not None:
        span: float = length
    elif end is not None:
        span = end - hold
    else:
        raise ValueError(f"{schedule} needs a length, since the run has no end; give it one, or trainer.max_steps")
    elapsed = position - hold
    if elapsed <= 0:
        return 0.0
    return 1.0 if elapsed >= span else elapsed / span


def _check_span(schedule: Schedule, hold: int, length: int | None) -> None:
    if hold < 0 or (length is not None and length < 1):
        raise ValueError(
            f"{type(schedule).__name__}: hold={hold}, length={length}; give hold from 0 on, length from 1 on or None"
        )
