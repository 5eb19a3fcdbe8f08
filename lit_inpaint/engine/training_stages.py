"""Place the stages of a run on its batches: stage, loss weights, learning rates and optimizer of each batch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lit_inpaint.schedules import Clock, Schedule, value_at
from lit_inpaint.settings import OptimizerSettings, Player, Stage

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


@dataclass(frozen=True)
class StageSpan:
    """A stage and the batches it covers.

    Attributes:
        stage: the stage.
        number: index of the stage, from 0.
        begin: its first batch.
        end: the batch after its last; None without an end.
    """

    stage: Stage
    number: int
    begin: int
    end: int | None


class StageSchedule:
    """Map batch numbers to stages, loss weights, optimizer settings and learning rates.

    Args:
        stages: in their order.
        per_epoch: batches in an epoch; None if the data has no length.
        limit: number of batches at which the trainer ends the run; None for no limit.

    Attributes:
        spans: the stages with their batches; an open end becomes `limit`.
        length: number of batches of the run; None without an end.

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
            end = begin + length if (length := _length(stage, per_epoch)) is not None else limit
            spans.append(StageSpan(stage, number, begin, end))
            begin = end or 0
        ends = [end for end in (spans[-1].end, limit) if end is not None]
        self.length = min(ends, default=None)
        self.spans = tuple(spans)

    @classmethod
    def of_run(cls, stages: tuple[Stage, ...], trainer: Trainer) -> StageSchedule:
        """Place `stages` in the run of `trainer`, whose training data is set up."""
        batches = trainer.num_training_batches
        per_epoch = int(batches) if batches != float("inf") else None
        limits = [trainer.max_steps] if trainer.max_steps >= 0 else []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0 and per_epoch is not None:
            limits.append(trainer.max_epochs * per_epoch)
        return cls(stages, per_epoch, min(limits, default=None))

    def at(self, iteration: int) -> StageSpan:
        """Return the stage of batch number `iteration`, from 0; after the last batch, the last stage."""
        return next((span for span in self.spans if span.end is None or iteration < span.end), self.spans[-1])

    def weights(self, defaults: object, iteration: int) -> dict[str, float]:
        """Return every loss weight for batch number `iteration`.

        Args:
            defaults: the paper's dataclass of weights, which a stage may override.
            iteration: from 0.

        Raises:
            ValueError: the stage overrides a weight that the paper does not have.
        """
        span = self.at(iteration)
        run = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(cast(Any, defaults))}
        if unknown := span.stage.weights.keys() - run.keys():
            raise ValueError(
                f"stage {span.stage.name!r} weighs {', '.join(sorted(unknown))}, but the paper's weights are {', '.join(run)}"
            )
        values = {name: value_at(value, self._run_clock(iteration)) for name, value in run.items()}
        return values | {
            name: value_at(value, self._stage_clock(span, iteration)) for name, value in span.stage.weights.items()
        }

    def optimizer(self, player: Player, default: OptimizerSettings, iteration: int) -> tuple[OptimizerSettings, float]:
        """Return a player's optimizer settings and learning rate for batch number `iteration`.

        Args:
            player: generator or discriminator.
            default: the paper's settings, which a stage may override.
            iteration: from 0.
        """
        span = self.at(iteration)
        if (override := _optimizer_of(span.stage, player)) is not None:
            return override, value_at(override.lr, self._stage_clock(span, iteration))
        return default, value_at(default.lr, self._run_clock(iteration))

    def changing_weights(self, defaults: object) -> list[str]:
        """Return the names of the weights that are not constant throughout the run."""
        run = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(cast(Any, defaults))}
        overridden = {name for span in self.spans for name in span.stage.weights}
        return [name for name, value in run.items() if isinstance(value, Schedule) or name in overridden]

    def _run_clock(self, iteration: int) -> Clock:
        return Clock(iteration, self.length, self.per_epoch)

    def _stage_clock(self, span: StageSpan, iteration: int) -> Clock:
        return Clock(iteration - span.begin, None if span.end is None else span.end - span.begin, self.per_epoch)


def assign_optimizers(
    stages: tuple[Stage, ...], player: Player, default: OptimizerSettings
) -> tuple[list[OptimizerSettings], list[int]]:
    """List the optimizers that a player needs in a run, and the optimizer of each stage.

    A stage that trains the player keeps the optimizer of the last such stage, unless it asks for a fresh one or for another
    kind. A stage that does not train the player changes nothing.

    Args:
        stages: in their order.
        player: generator or discriminator.
        default: the paper's settings.

    Returns:
        The settings from which each optimizer is built, and for each stage the index of its optimizer.
    """
    built: list[OptimizerSettings] = []
    indices: list[int] = []
    for stage in stages:
        settings = _optimizer_of(stage, player) or default
        if player in stage.players and (not built or stage.fresh_optimizers or type(settings) is not type(built[-1])):
            built.append(settings)
        indices.append(max(len(built) - 1, 0))
    return built or [default], indices


def _optimizer_of(stage: Stage, player: Player) -> OptimizerSettings | None:
    return stage.generator_optimizer if player == "generator" else stage.discriminator_optimizer


def _length(stage: Stage, per_epoch: int | None) -> int | None:
    if stage.epochs is None:
        return stage.iterations
    if per_epoch is None:
        raise ValueError(f"stage {stage.name!r} lasts {stage.epochs} epochs, but the data has no length; give iterations")
    return stage.epochs * per_epoch
