"""A LightningModule whose training is a plan of stages: optimizers, learning rates, weights and still parts of each batch."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, cast, final

import lightning
import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lit_inpaint import __version__
from lit_inpaint.engine.ddp_strategy import share_buffers, validate_strategy
from lit_inpaint.engine.freezing import ModuleFreezer, find_modules
from lit_inpaint.engine.training_stages import StageSchedule, StageSpan, optimizers
from lit_inpaint.errors import UserError
from lit_inpaint.settings import OptimizerSettings, Player, Stage, Training, plain


class StagedModule(LightningModule):
    """What `Inpainter` stands on; says what holds for the batch in hand, and leaves learning from it to the engine.

    Args:
        weights: dataclass of numbers or schedules whose fields are the names of the loss terms of both players.
        generator_optimizer: how the generator steps.
        discriminator_optimizer: how the discriminator steps; None where the paper has none.
        training: clipping, accumulation, memory layout, compilation.
        stages: update order, duration and overrides of each stage; None is one stage in which both players learn.
    """

    generator: nn.Module
    discriminator: nn.Module | None
    published_as: ClassVar[dict[str, dict[str, object]]] = {}
    published_in: ClassVar[str | None] = None

    def __init__(
        self,
        weights: object,
        generator_optimizer: OptimizerSettings,
        discriminator_optimizer: OptimizerSettings | None,
        training: Training,
        stages: tuple[Stage, ...] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.save_hyperparameters(logger=False)  # the paper's arguments: Lightning walks up to its constructor's frame
        self.weights = weights
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.training_settings = training
        self._stages = stages
        self.seed = 0
        self._stage_schedule: StageSchedule | None = None
        self._span: StageSpan | None = None
        self._still = ModuleFreezer(self)
        self._owners: list[Player] = []  # of each optimizer
        self._numbers: dict[Player, list[int]] = {}  # of a player's optimizer in each stage

    def stages(self) -> tuple[Stage, ...]:
        """The stages of a run, in order: those given to the constructor, else one simultaneous stage."""
        return self._stages or (Stage(discriminator=self.discriminator is not None),)

    @property
    def players(self) -> tuple[Player, ...]:
        """Who there is."""
        return ("generator",) if self.discriminator is None else ("generator", "discriminator")

    def uses_loss(self, *terms: str) -> bool:
        """Whether one of these loss terms has a weight that is not 0 in any stage, and so a loss network is needed at all."""
        return any(stage.weights.get(term, getattr(self.weights, term)) != 0 for stage in self.stages() for term in terms)

    # The plan ---------------------------------------------------------------------------------------------------------------

    @property
    def stage_schedule(self) -> StageSchedule:
        """The stages in their places in this run; known once the training data is set up."""
        if self._stage_schedule is None:
            trainer = self.trainer
            batches = trainer.num_training_batches
            per_epoch = int(batches) if batches != float("inf") else None
            limits = [trainer.max_steps] if trainer.max_steps >= 0 else []
            if trainer.max_epochs is not None and trainer.max_epochs >= 0 and per_epoch is not None:
                limits.append(trainer.max_epochs * per_epoch)
            try:
                plan = StageSchedule(self.stages(), per_epoch, min(limits, default=None))
                self._check(plan)
            except ValueError as mistake:
                raise UserError(str(mistake)) from mistake
            self._stage_schedule = plan
        return self._stage_schedule

    def _check(self, plan: StageSchedule) -> None:
        """Find a mistake in a later stage now, not when it is that stage's turn."""
        for span in plan.spans:
            if absent := set(span.stage.players) - set(self.players):
                raise ValueError(
                    f"the {absent.pop()} is to learn in stage {span.stage.name!r}, but {type(self).__name__} has none"
                )
            find_modules(self, (*span.stage.frozen, *span.stage.eval_modules))
            plan.weights(self.weights, span.begin)
            for player in span.stage.players:
                plan.optimizer(player, self._own(player), span.begin)

    @final
    def stage_name(self, iteration: int) -> str:
        """The name of the stage that batch number `iteration` belongs to; after the last batch, of the one it ended in."""
        return self.stage_schedule.at(iteration).stage.name

    @final
    def scheduled(self, iteration: int) -> dict[str, float]:
        """Learning rates (`lr_<player>`) and the weights that change (`weight_<term>`) of batch number `iteration`, from 0."""
        rates = {
            f"lr_{player}": self.stage_schedule.optimizer(player, self._own(player), iteration)[1] for player in self.players
        }
        weights = self.stage_schedule.weights(self.weights, iteration)
        return rates | {
            f"weight_{name}": weights[name] for name in self.stage_schedule.scheduled_weights(self.weights, iteration)
        }

    def _enter(self, iteration: int) -> Stage:
        """The stage of this batch, with everything that it says put in force."""
        span = self.stage_schedule.at(iteration)
        if span != self._span:
            self._span = span
            self._still.enter(span.stage)
            self._forget_finished_optimizers(span)
            if len(self.stage_schedule.spans) > 1:
                until = "the end" if span.end is None else span.end
                rank_zero_info(f"Stage {span.stage.name}, steps {span.begin} to {until}: {' and '.join(span.stage.players)}")
        for player in span.stage.players:
            settings, rate = self.stage_schedule.optimizer(player, self._own(player), iteration)
            for group in self._optimizer(player).param_groups:
                group.update(settings.options(), lr=rate)
        return span.stage

    # Optimizers -------------------------------------------------------------------------------------------------------------

    @final
    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The generator's optimizers in the order of the stages, then the discriminator's."""
        built: list[torch.optim.Optimizer] = []
        self._owners = []
        for player in self.players:
            needed, numbers = optimizers(self.stages(), player, self._own(player))
            self._numbers[player] = [len(built) + number for number in numbers]
            parameters = list(getattr(self, player).parameters())
            built += [settings.build(parameters) for settings in needed]
            self._owners += [player] * len(needed)
        return built

    def _own(self, player: Player) -> OptimizerSettings:
        """A player's optimizer as the paper has it, whatever a stage says."""
        settings = getattr(self, f"{player}_optimizer")
        if settings is None:
            raise ValueError(f"{type(self).__name__} has a {player} but no {player}_optimizer")
        return cast(OptimizerSettings, settings)

    def _optimizer(self, player: Player) -> LightningOptimizer:
        """A player's optimizer in the stage in hand."""
        assert self._span is not None
        found = self.optimizers()
        every = found if isinstance(found, list) else [found]
        return every[self._numbers[player][self._span.number]]

    def _forget_finished_optimizers(self, span: StageSpan) -> None:
        """Their moments would only fill the checkpoints."""
        for numbers in self._numbers.values():
            for number in set(numbers[: span.number]) - {numbers[span.number]}:
                self.trainer.optimizers[number].state.clear()

    # Around training --------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Prepare the strategy before it wraps this module."""
        if stage == "fit":
            validate_strategy(self.trainer.strategy, self.stages(), self.discriminator is not None)

    def configure_model(self) -> None:
        """Memory layout, before DDP and the optimizers look at the parameters."""
        if self.training_settings.channels_last:
            self.to(memory_format=torch.channels_last)

    def on_fit_start(self) -> None:
        """Refuse what would silently train wrong."""
        self._stage_schedule = self._span = None
        if self.trainer.precision == "16-mixed" and any(
            stage.update == "simultaneous" and len(stage.players) == 2 for stage in self.stages()
        ):
            raise UserError(
                "--trainer.precision 16-mixed scales one player's gradients wrongly in a simultaneous update "
                "(one scaler, two optimizers, one backward); use bf16-mixed or 32-true"
            )

    def on_train_start(self) -> None:
        """The run ends with its last stage."""
        length, loop = self.stage_schedule.length, self.trainer.fit_loop.epoch_loop
        if length is not None and (loop.max_steps < 0 or length < loop.max_steps):
            loop.max_steps = length
        if self.training_settings.compile:
            self.generator.compile()  # in place: the names of the weights stay

    def on_train_end(self) -> None:
        """Wake the parts that the last stage kept still."""
        self._still.enter(Stage())

    def on_validation_start(self) -> None:
        """All processes measure the same network."""
        share_buffers(self.trainer, self)

    # Checkpoints ------------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what the weights are, in plain data; Lightning's own hyper-parameters would hold our classes."""
        for key in [
            key for key in checkpoint if key.startswith(("hyper_parameters", "hparams", "datamodule_hyper_parameters"))
        ]:
            del checkpoint[key]
        # Lightning collects the base's arguments as well, which a paper without a discriminator, say, does not take.
        taken = inspect.signature(type(self)).parameters
        checkpoint["lit_inpaint"] = {
            **checkpoint.get("lit_inpaint", {}),
            "paper": f"{type(self).__module__}.{type(self).__qualname__}",
            "settings": plain({name: value for name, value in self.hparams.items() if name in taken}),
            "seed": self.seed,
            "versions": {
                "lit_inpaint": __version__,
                "torch": str(torch.__version__),
                "lightning": lightning.__version__,
                "numpy": np.__version__,
            },
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the checkpoint's seed."""
        self.seed = checkpoint["lit_inpaint"]["seed"]
