"""The stages of a run laid out over its batches: which stage a batch belongs to, and what every scheduled number is worth."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

from lit_inpaint.schedules import Clock, Schedule, value_at
from lit_inpaint.settings import OptimizerSettings, Player, Stage


@dataclass(frozen=True)
class StageSpan:
    """A stage in its place.

    Attributes:
        stage: the stage.
        number: its number, from 0.
        begin: its first batch.
        end: the batch after its last; None where it lasts for ever.
    """

    stage: Stage
    number: int
    begin: int
    end: int | None


class StageSchedule:
    """Stages and schedules of one run.

    Args:
        stages: in their order.
        per_epoch: batches in an epoch; None if the data has no length.
        limit: batches after which the trainer ends the run, whatever the stages say; None for no limit.

    Attributes:
        spans: the stages in their places; an open end becomes `limit`.
        length: batches that the stages last, or `limit`; None for ever.

    Raises:
        ValueError: an open stage is not the last, or a length in epochs meets data without a length.
    """

    def __init__(self, stages: tuple[Stage, ...], per_epoch: int | None = None, limit: int | None = None) -> None:
        if not stages:
            raise ValueError("a paper needs at least one stage")
        if any(stage.iterations is None and stage.epochs is None for stage in stages[:-1]):
            raise ValueError("only the last stage may leave its length open: " + ", ".join(stage.name for stage in stages))
        self.per_epoch = per_epoch
        begin, spans = 0, []
        for number, stage in enumerate(stages):
            last = begin + length if (length := _length(stage, per_epoch)) is not None else limit
            spans.append(StageSpan(stage, number, begin, last))
            begin = last or 0
        ends = [end for end in (spans[-1].end, limit) if end is not None]
        self.length = min(ends, default=None)
        self.spans = tuple(spans)

    def at(self, iteration: int) -> StageSpan:
        """The stage of batch number `iteration`, from 0; behind the last batch, the last stage."""
        return next((span for span in self.spans if span.end is None or iteration < span.end), self.spans[-1])

    def weights(self, own: object, iteration: int) -> dict[str, float]:
        """Every loss weight for batch number `iteration`.

        Args:
            own: the paper's dataclass of weights.
            iteration: from 0.
        """
        span = self.at(iteration)
        run = {field.name: getattr(own, field.name) for field in dataclasses.fields(cast(Any, own))}
        if unknown := span.stage.weights.keys() - run.keys():
            raise ValueError(
                f"stage {span.stage.name!r} weighs {', '.join(sorted(unknown))}, but the paper's weights are {', '.join(run)}"
            )
        values = {name: value_at(value, self._run_clock(iteration)) for name, value in run.items()}
        return values | {name: value_at(value, self._clock(span, iteration)) for name, value in span.stage.weights.items()}

    def optimizer(self, player: Player, own: OptimizerSettings, iteration: int) -> tuple[OptimizerSettings, float]:
        """A player's optimizer settings for batch number `iteration`, and their learning rate.

        Args:
            player: whose.
            own: the paper's settings.
            iteration: from 0.
        """
        span = self.at(iteration)
        if (of_stage := _optimizer(span.stage, player)) is not None:
            return of_stage, value_at(of_stage.lr, self._clock(span, iteration))
        return own, value_at(own.lr, self._run_clock(iteration))

    def scheduled_weights(self, own: object, iteration: int) -> list[str]:
        """Names of the weights that are not one constant throughout the run."""
        run = {field.name: getattr(own, field.name) for field in dataclasses.fields(cast(Any, own))}
        by_stage = {name for span in self.spans for name in span.stage.weights}
        return [name for name, value in run.items() if isinstance(value, Schedule) or name in by_stage]

    def _run_clock(self, iteration: int) -> Clock:
        return Clock(iteration, self.length, self.per_epoch)

    def _clock(self, span: StageSpan, iteration: int) -> Clock:
        return Clock(iteration - span.begin, None if span.end is None else span.end - span.begin, self.per_epoch)


def optimizers(stages: tuple[Stage, ...], player: Player, own: OptimizerSettings) -> tuple[list[OptimizerSettings], list[int]]:
    """Which optimizers a player needs over a run.

    A stage in which the player learns goes on with the optimizer of the last such stage, unless it asks for a fresh one or for
    another kind; a stage in which it rests changes nothing.

    Args:
        stages: in their order.
        player: whose.
        own: the paper's settings.

    Returns:
        The settings that each optimizer is built from, and for each stage the number of its optimizer.
    """
    built: list[OptimizerSettings] = []
    numbers: list[int] = []
    for stage in stages:
        settings = _optimizer(stage, player) or own
        if player in stage.players and (not built or stage.fresh_optimizers or type(settings) is not type(built[-1])):
            built.append(settings)
        numbers.append(max(len(built) - 1, 0))
    return built or [own], numbers


def _optimizer(stage: Stage, player: Player) -> OptimizerSettings | None:
    return stage.generator_optimizer if player == "generator" else stage.discriminator_optimizer


def _length(stage: Stage, per_epoch: int | None) -> int | None:
    if stage.epochs is None:
        return stage.iterations
    if per_epoch is None:
        raise ValueError(f"stage {stage.name!r} lasts {stage.epochs} epochs, but the data has no length; give iterations")
    return stage.epochs * per_epoch
