"""Train a paper's networks: update order, loss weighting, backward, clipping, step, stages, optimizers, checkpoints.

A paper defines two networks and their losses; `training_step` is final. In plain PyTorch, with `g` and `d` the weighted losses
of the two players, and the discriminator's weights frozen in every generator loss, one batch is

    simultaneous       prediction = G(x); (g(prediction) + d(prediction.detach())).backward(); step G; step D
    alternating        prediction = G(x); d(prediction.detach()).backward(); step D; g(prediction).backward(); step G
    generator_first    prediction = G(x); g(prediction).backward(); step G; d(prediction.detach()).backward(); step D

with both gradients cleared first. "simultaneous" computes both gradients at the old weights in one backward, so plain DDP finds
a gradient for every parameter. "alternating" repeats D's update `d_steps` times; G then learns against the new D, or with
`generator_every` on every n-th batch only.
"generator_first" trains D on the image that G made before its own step. Each player still learns from the other's old weights,
so the result equals "simultaneous", but with two backwards, as fp16 needs. With `recompute`, the updated G makes D's image. In
each order **one batch is one `global_step`**.

The details are in the other modules of this folder: `training_stages` (stages and schedules over a run), `weighted_loss`,
`gradient_accumulation`, `freezing`, `global_step`, `ddp_strategy`, `sync_batchnorm`, `any_size`.

Randomness inside a step (dropout, interpolation points) is a function of (seed, global_step, rank). A resumed run therefore
needs no saved generator state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, TypeVar, cast, final

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor, nn

from lit_inpaint.edges import CannyEdges
from lit_inpaint.engine.any_size import predict_any_size
from lit_inpaint.engine.checkpoint_metadata import describe_weights
from lit_inpaint.engine.compilation import compile_errors, compile_networks, discard_compiled
from lit_inpaint.engine.ddp_strategy import broadcast_buffers, broadcast_buffers_in_forward, no_sync, validate_strategy
from lit_inpaint.engine.freezing import ModuleFreezer, find_modules, frozen
from lit_inpaint.engine.fused_adam import use_fused_adam
from lit_inpaint.engine.global_step import count_batch, stop_counting_optimizer_steps
from lit_inpaint.engine.gradient_accumulation import MicroBatch, concat_predictions, slice_prediction, split_batch
from lit_inpaint.engine.poisson_blending import poisson_blend
from lit_inpaint.engine.training_stages import StageSchedule, StageSpan, assign_optimizers
from lit_inpaint.engine.weighted_loss import LossWeighter
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.losses.adversarial import at_least_float32
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers
from lit_inpaint.settings import OptimizerSettings, Player, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, check_batch, complete_edges, complete_inputs, composite

Logits = TypeVar("Logits", Tensor, Sequence[Tensor])


class Inpainter(LightningModule):
    """Base of every paper. A paper sets `generator` and `discriminator` and defines `forward` and its losses.

    Args:
        weights: dataclass of numbers or schedules whose fields are the names of the loss terms of both players.
        generator_optimizer: of the generator.
        discriminator_optimizer: of the discriminator; None where the paper has none.
        training: clipping, accumulation, memory layout, compilation.
        stages: update order, duration and overrides of each stage; None is one stage that trains both players.

    Attributes:
        generator: the network that `forward` calls.
        discriminator: its opponent, or None.
        multiple: of which the sides of images must be multiples; `predict` pads others.
        modes: values of `Stage.mode` that `training_forward` and the losses accept; empty for papers without modes.
        compiled_modules: names of what `training.compile` compiles; a paper leaves out a discriminator whose gradient its loss
            differentiates again, which `torch.compile` cannot do.
        edge_detector: loaders compute `batch["edges"]` of training batches with it; None: the paper uses no edges.
        edges_input: third input of exported graphs, for papers with an `edge_detector`; see `predict_from_edges`.
        subsample_above: `predict` completes images with a longer side by subsampling them to squares of this side; None: never.
        trained_size: side of the training images in pixels, from the checkpoint; None: not known.
        blending: post-processing of `complete`: none, or Poisson blending of the filled holes into the image.
        published_as: names of the variants in the paper's tables and the arguments that make them.
        published_in: the file of those tables in `lit_inpaint.published`, if not named like the paper's module.
        seed: of the randomness inside training steps; saved in the checkpoint.
        mean_logits: `d_real` and `d_fake`, the discriminator's mean logits in its last update; detached scalars for the log.
        measures_validation_loss: whether validation computes the generator's losses too.
        validation_losses: those of the last validation batch, unweighted by term, and weighted in sum under "generator".
    """

    generator: nn.Module
    discriminator: nn.Module | None
    multiple: ClassVar[int] = 1
    modes: ClassVar[tuple[str, ...]] = ()
    compiled_modules: ClassVar[tuple[str, ...]] = ("generator", "discriminator")
    edge_detector: CannyEdges | None = None
    edges_input: ClassVar[str] = ""
    subsample_above: int | None = None
    trained_size: int | None = None
    blending: Literal["none", "poisson"] = "none"
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
        self.seed = 0
        self.mean_logits: dict[str, Tensor] = {}
        self.measures_validation_loss = False
        self.validation_losses: dict[str, Tensor] = {}
        self._stages = stages
        self._stage_schedule: StageSchedule | None = None
        self._current_span: StageSpan | None = None
        self._loss_weighter = LossWeighter(type(self).__name__, weights)
        self._freezer = ModuleFreezer(self)
        self._optimizer_indices: dict[Player, list[int]] = {}  # of a player's optimizer in each stage
        self._micro_batch_logits: dict[str, Tensor] = {}
        self._restored_leftovers: dict[str, Tensor] | None = None  # from a checkpoint, until its stage resumes
        self._batch_checked = False

    # What a paper defines ---------------------------------------------------------------------------------------------------

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Complete `image` (B, 3, H, W) in [0, 1] where `mask` (B, 1, H, W) is 1; what the holes of `image` hold is ignored."""
        raise NotImplementedError

    def training_forward(self, batch: Batch) -> Prediction:
        """Return what the losses of a batch need; `forward` of image and mask, unless a paper needs more in training."""
        return cast(Prediction, self(batch["image"], batch["mask"]))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Return the generator's unweighted terms; gradients reach `prediction` but not the discriminator."""
        raise NotImplementedError

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Return the discriminator's unweighted terms; `prediction` is detached."""
        raise NotImplementedError

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages of a run in order: those given to the constructor, else one simultaneous stage."""
        return self._stages or (Stage(discriminator=self.discriminator is not None),)

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> list[str]:
        """Load weights of the paper's public PyTorch code, in its names and its scaling; papers with such code override this.

        Args:
            generator: state dict of the public generator.
            discriminator: state dict of the public discriminator; None leaves the discriminator as it is.

        Returns:
            Names of the public weights that are not needed.

        Raises:
            UserError: no public weights are known, or these do not fit this network; no weight is changed then.
        """
        raise UserError(f"no public PyTorch weights of {type(self).__name__} are known; load_official has nothing to load")

    @final
    def record_logits(self, kind: Literal["real", "fake"], logits: Logits) -> Logits:
        """Record the discriminator's mean logit for the log; for use inside `discriminator_losses`.

        Args:
            kind: "real" or "fake" images, `d_real` or `d_fake` in `mean_logits`.
            logits: of one scale or of several, above 0 for images classified as real.

        Returns:
            `logits`, unchanged.
        """
        scales = [logits] if isinstance(logits, Tensor) else logits
        means = [at_least_float32(scale.detach()).mean() for scale in scales]
        self._micro_batch_logits[f"d_{kind}"] = torch.stack(means).mean()
        return logits

    def uses_loss(self, *terms: str) -> bool:
        """Return whether one of these loss terms has a weight that is not 0 in any stage, and so needs its loss network."""
        return any(stage.weights.get(term, getattr(self.weights, term)) != 0 for stage in self.stages() for term in terms)

    def load_loss_networks(self) -> list[str]:
        """Load the pretrained networks of the losses in use; papers with such losses override this.

        `fit` calls it before it writes anything, and again when training starts.

        Returns:
            A line for the log on each of them.

        Raises:
            UserError: a file of weights is missing or broken.
        """
        return []

    @property
    def label(self) -> str:
        """Name of the network in tables."""
        return type(self).__name__

    @property
    def players(self) -> tuple[Player, ...]:
        """The players of this paper."""
        return ("generator",) if self.discriminator is None else ("generator", "discriminator")

    # One batch --------------------------------------------------------------------------------------------------------------

    @final
    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Train on one batch in the update order of the current stage.

        Returns:
            The unweighted terms by name, and each player's weighted total under the player's name; all detached scalars.
        """
        torch.manual_seed(_derive_seed(self.seed, self.trainer.global_step, self.global_rank))
        stage = self._apply_stage(self.trainer.global_step)
        log: dict[str, Tensor] = {}
        self.mean_logits = {}
        stop_counting_optimizer_steps(self.trainer)
        with compile_errors(self, self.training_settings.compile):
            if stage.update == "simultaneous":
                self._simultaneous(stage, batch, log)
            elif stage.update == "alternating":
                self._alternating(stage, batch, log)
            else:
                self._generator_first(stage, batch, log)
        self._loss_weighter.check_unused_weights(self.players)
        count_batch(self.trainer)
        return log

    def _simultaneous(self, stage: Stage, batch: Batch, log: dict[str, Tensor]) -> None:
        micro_batches = split_batch(batch, max(self._num_micro_batches(player) for player in stage.players))
        for player in stage.players:
            self._optimizer(player).zero_grad()
        for micro in micro_batches:
            prediction = self._predict(micro, stage.generator)
            losses = [self._loss(player, micro, prediction, log) for player in stage.players]
            self._backward(sum(losses[1:], losses[0]), micro)
        for player in stage.players:
            self._optimizer(player).step()

    def _alternating(self, stage: Stage, batch: Batch, log: dict[str, Tensor]) -> None:
        for_d = split_batch(batch, self._num_micro_batches("discriminator"))
        for_g = split_batch(batch, self._num_micro_batches("generator"))
        updates_generator = stage.generator and self._is_nth_batch(stage.generator_every)
        one_forward = updates_generator and len(for_d) == len(for_g) == 1  # memory cannot hold the graphs of all micro-batches
        if stage.discriminator or one_forward:
            predictions = [self._predict(micro, one_forward) for micro in for_d]
        if stage.discriminator:
            for _ in range(stage.d_steps):
                self._update("discriminator", for_d, predictions, log)
        if updates_generator:
            self._update("generator", for_g, predictions if one_forward else (self._predict(micro) for micro in for_g), log)

    def _is_nth_batch(self, n: int) -> bool:
        """Return whether this batch is the n-th, 2 n-th, … of the current stage."""
        assert self._current_span is not None
        return (self.trainer.global_step + 1 - self._current_span.begin) % n == 0

    def _generator_first(self, stage: Stage, batch: Batch, log: dict[str, Tensor]) -> None:
        for_d = split_batch(batch, self._num_micro_batches("discriminator"))
        for_g = split_batch(batch, self._num_micro_batches("generator"))
        detached: list[Prediction] = []

        def predictions() -> Iterator[Prediction]:
            for micro in for_g:
                prediction = self._predict(micro, stage.generator)
                detached.append(prediction.detach())
                yield prediction

        if stage.generator:
            self._update("generator", for_g, predictions(), log)
        if stage.discriminator:
            if stage.recompute:
                detached = [self._predict(micro, with_grad=False) for micro in for_d]
            whole = concat_predictions(detached or predictions())
            self._update("discriminator", for_d, (slice_prediction(whole, micro) for micro in for_d), log)

    def _update(
        self, player: Player, micro_batches: list[MicroBatch], predictions: Iterable[Prediction], log: dict[str, Tensor]
    ) -> None:
        """Update one player: gradients of all micro-batches, then a step; of several updates in a batch, log the last."""
        optimizer, last_log = self._optimizer(player), dict[str, Tensor]()
        keep = player == "discriminator" and self._keeps_leftovers()
        if not keep:
            optimizer.zero_grad()
        if player == "discriminator":
            self.mean_logits = {}
        for micro, prediction in zip(micro_batches, predictions, strict=True):
            self._backward(self._loss(player, micro, prediction, last_log), micro)
        optimizer.step()
        if keep:
            optimizer.zero_grad()  # what the generator's loss adds from here on stays for the next update
        log.update(last_log)

    def _predict(self, micro: MicroBatch, with_grad: bool = True) -> Prediction:
        with torch.set_grad_enabled(with_grad):
            return self.training_forward(micro.batch)

    def _loss(self, player: Player, micro: MicroBatch, prediction: Prediction, log: dict[str, Tensor]) -> Tensor:
        """Compute a player's weighted loss times the micro-batch's fraction of the batch; write the terms into `log`."""
        weights = self.stage_schedule.weights(self.weights, self.trainer.global_step)
        if player == "generator":
            with nullcontext() if self._keeps_leftovers() else frozen(self.discriminator):
                terms = self.generator_losses(micro.batch, prediction)
                return self._loss_weighter.total(player, terms, weights, micro.fraction, log)
        self._micro_batch_logits.clear()
        terms = self.discriminator_losses(micro.batch, prediction.detach())
        total = self._loss_weighter.total(player, terms, weights, micro.fraction, log)
        for name, mean in self._micro_batch_logits.items():
            self.mean_logits[name] = self.mean_logits.get(name, 0) + micro.fraction * mean
        return total

    def _backward(self, loss: Tensor, micro: MicroBatch) -> None:
        with no_sync(self.trainer.strategy, not micro.is_last):
            self.manual_backward(loss)
        # By default autocast keeps low-precision copies of the weights until the training step ends. A second forward would use
        # the copies from before the optimizer's step, or, after a forward without gradients, copies through which no gradient
        # reaches the weights. Lightning 2.6 disables this cache; another release or plugin may not.
        torch.clear_autocast_cache()

    @final
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip; in this hook, because earlier the gradients still carry the scale of fp16."""
        player = next(player for player in self.players if self._optimizer(player).optimizer is optimizer)
        clip = getattr(self.training_settings, f"clip_{player}")
        if clip is not None:
            self.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")

    def _num_micro_batches(self, player: Player) -> int:
        return cast(int, getattr(self.training_settings, f"accumulate_{player}"))

    # Gradients that the generator's loss leaves in the discriminator --------------------------------------------------------

    def _keeps_leftovers(self) -> bool:
        return self._current_span is not None and self._current_span.stage.leftover_gradients

    def _start_leftovers(self, resumes: bool) -> None:
        """Begin a stage without leftovers, or in the middle of it with those of the checkpoint."""
        restored, self._restored_leftovers = self._restored_leftovers, None
        if self.discriminator is not None and self._keeps_leftovers():
            for name, parameter in self.discriminator.named_parameters():
                found = restored.get(name) if restored is not None and resumes else None
                parameter.grad = None if found is None else found.to(parameter)

    def _leftovers(self) -> dict[str, Tensor]:
        """Return the gradients that the next update of the discriminator starts with, by name."""
        if self._restored_leftovers is not None:  # saved again before the first batch
            return self._restored_leftovers
        if self.discriminator is None or not self._keeps_leftovers():
            return {}
        gradients = {name: parameter.grad for name, parameter in self.discriminator.named_parameters()}
        # Under DDP a gradient lies in a bucket with others, all of which would be saved with it.
        return {name: gradient.clone() for name, gradient in gradients.items() if gradient is not None}

    # Stages and schedules ---------------------------------------------------------------------------------------------------

    @property
    def stage_schedule(self) -> StageSchedule:
        """The stages placed on the batches of this run; known once the training data is set up."""
        if self._stage_schedule is None:
            try:
                schedule = StageSchedule.of_run(self.stages(), self.trainer)
                self._check_stages(schedule)
            except ValueError as error:
                raise UserError(str(error)) from error
            self._stage_schedule = schedule
        return self._stage_schedule

    def _check_stages(self, schedule: StageSchedule) -> None:
        """Find a mistake in a later stage before the run starts."""
        for span in schedule.spans:
            if missing := set(span.stage.players) - set(self.players):
                raise ValueError(f"stage {span.stage.name!r} trains the {missing.pop()}, but {type(self).__name__} has none")
            find_modules(self, (*span.stage.frozen, *span.stage.eval_modules))
            if (mode := span.stage.mode) is not None and mode not in self.modes:
                hint = did_you_mean(mode, self.modes, show_all=True) if self.modes else f"; {type(self).__name__} has no modes"
                raise ValueError(f"stage {span.stage.name!r} has no mode {mode!r}{hint}")
            schedule.weights(self.weights, span.begin)
            for player in span.stage.players:
                schedule.optimizer(player, self._default_optimizer(player), span.begin)

    @property
    def mode(self) -> str | None:
        """`Stage.mode` of the stage of the last training batch; None before the first."""
        return None if self._current_span is None else self._current_span.stage.mode

    @final
    def stage_name(self, iteration: int) -> str:
        """Return the name of the stage of batch number `iteration`; after the last batch, of the last stage."""
        return self.stage_schedule.at(iteration).stage.name

    @final
    def scheduled_values(self, iteration: int) -> dict[str, float]:
        """Return learning rates (`lr_<player>`) and changing weights (`weight_<term>`) of batch number `iteration`, from 0."""
        values = {}
        for player in self.players:
            values[f"lr_{player}"] = self.stage_schedule.optimizer(player, self._default_optimizer(player), iteration)[1]
        weights = self.stage_schedule.weights(self.weights, iteration)
        return values | {f"weight_{name}": weights[name] for name in self.stage_schedule.changing_weights(self.weights)}

    def _apply_stage(self, iteration: int) -> Stage:
        """Return the stage of this batch after applying its frozen modules and optimizer settings."""
        span = self.stage_schedule.at(iteration)
        if span != self._current_span:
            self._current_span = span
            self._freezer.freeze(span.stage)
            self._start_leftovers(resumes=iteration > span.begin)
            self._clear_finished_optimizers(span)
            if len(self.stage_schedule.spans) > 1:
                end = "the end" if span.end is None else span.end
                rank_zero_info(f"Stage {span.stage.name}, steps {span.begin} to {end}: {' and '.join(span.stage.players)}")
        for player in span.stage.players:
            settings, lr = self.stage_schedule.optimizer(player, self._default_optimizer(player), iteration)
            for group in self._optimizer(player).param_groups:
                group.update(settings.options(), lr=lr)
        return span.stage

    # Optimizers -------------------------------------------------------------------------------------------------------------

    @final
    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Build the generator's optimizers in the order of the stages, then the discriminator's."""
        built: list[torch.optim.Optimizer] = []
        for player in self.players:
            needed, indices = assign_optimizers(self.stages(), player, self._default_optimizer(player))
            self._optimizer_indices[player] = [len(built) + index for index in indices]
            parameters = list(getattr(self, player).parameters())
            built += [settings.build(parameters) for settings in needed]
        return built

    def _default_optimizer(self, player: Player) -> OptimizerSettings:
        """Return the paper's settings, which a stage may override."""
        settings = getattr(self, f"{player}_optimizer")
        if settings is None:
            raise ValueError(f"{type(self).__name__} has a {player} but no {player}_optimizer")
        return cast(OptimizerSettings, settings)

    def _optimizer(self, player: Player) -> LightningOptimizer:
        """Return a player's optimizer in the current stage."""
        assert self._current_span is not None
        found = self.optimizers()
        optimizers = found if isinstance(found, list) else [found]
        return optimizers[self._optimizer_indices[player][self._current_span.number]]

    def _clear_finished_optimizers(self, span: StageSpan) -> None:
        """Drop the states of optimizers that no later stage uses, which would only enlarge the checkpoints."""
        for indices in self._optimizer_indices.values():
            for index in set(indices[: span.number]) - {indices[span.number]}:
                self.trainer.optimizers[index].state.clear()

    # Hooks around training --------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Load the loss networks, and validate the strategy before it wraps this module."""
        if stage == "fit":
            for line in self.load_loss_networks():
                rank_zero_info(line)
            validate_strategy(self.trainer.strategy, self.stages(), self.discriminator is not None)

    def configure_model(self) -> None:
        """Use the faster CPU layers and the memory layout of the settings, before DDP and the optimizers take the parameters.

        Lightning calls this hook; `lit_inpaint.load` calls it for networks that run without a Trainer.
        """
        use_fast_cpu_layers(self)
        if self.training_settings.channels_last:
            self.to(memory_format=torch.channels_last)

    def on_fit_start(self) -> None:
        """Start without a stage, and refuse fp16 where it would scale gradients wrongly."""
        self._stage_schedule = self._current_span = None
        self._batch_checked = False
        if self.trainer.precision == "16-mixed" and any(
            stage.update == "simultaneous" and len(stage.players) == 2 for stage in self.stages()
        ):
            raise UserError(
                "--trainer.precision 16-mixed scales one player's gradients wrongly in a simultaneous update "
                "(one scaler, two optimizers, one backward); use bf16-mixed or 32-true"
            )
        if self.trainer.precision == "16-mixed" and any(stage.leftover_gradients for stage in self.stages()):
            raise UserError(
                "--trainer.precision 16-mixed rescales between batches, and leftover_gradients would mix two scales; use "
                "bf16-mixed or 32-true"
            )

    def on_train_start(self) -> None:
        """End the run with its last stage, prepare the optimizers, compile the networks if `training.compile` is set."""
        length, loop = self.stage_schedule.length, self.trainer.fit_loop.epoch_loop
        if length is not None and (loop.max_steps < 0 or length < loop.max_steps):
            loop.max_steps = length
        use_fused_adam(self.trainer.optimizers)
        if self.training_settings.compile:
            names = [name for name in self.compiled_modules if name != "discriminator" or self.discriminator is not None]
            compile_networks(map(self.get_submodule, names), self.device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Check the first batch of a run against the contract and report its mean mask ratio."""
        broadcast_buffers_in_forward(self.trainer)
        if not self._batch_checked:  # not `batch_idx == 0`: a resumed run starts in the middle of an epoch
            self._batch_checked = True
            ratio = check_batch(batch)
            rank_zero_info(f"First batch: {tuple(batch['image'].shape)}, mean mask ratio {ratio:.1%} (1 = hole)")

    def on_train_end(self) -> None:
        """Unfreeze the modules of the last stage, and leave compiled code."""
        self._freezer.unfreeze()
        if self.training_settings.compile:
            discard_compiled(self)

    def on_validation_start(self) -> None:
        """Let all processes validate the same network."""
        broadcast_buffers(self.trainer, self)

    # Checkpoints ------------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the weights in plain data; Lightning's own hyperparameters would hold classes of this package."""
        for key in list(checkpoint):
            if key.startswith(("hyper_parameters", "hparams", "datamodule_hyper_parameters")):
                del checkpoint[key]
        record = describe_weights(type(self), self.hparams, self.seed)
        checkpoint["lit_inpaint"] = {**checkpoint.get("lit_inpaint", {}), **record}
        if leftovers := self._leftovers():
            checkpoint["leftover_gradients"] = leftovers

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the seed and leftover gradients."""
        self.seed = checkpoint["lit_inpaint"]["seed"]
        self._restored_leftovers = checkpoint.get("leftover_gradients")

    # Use --------------------------------------------------------------------------------------------------------------------

    @final
    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the raw prediction and its stages, for the callbacks that compute metrics and draw samples."""
        with compile_errors(self, self.training_settings.compile):
            prediction = cast(Prediction, self(batch["image"], batch["mask"]))
            if self.measures_validation_loss:
                self.validation_losses = self._validation_losses(batch, prediction, batch_idx)
        return {"image": prediction.image, **prediction.stages}

    def _validation_losses(self, batch: Batch, prediction: Prediction, batch_idx: int) -> dict[str, Tensor]:
        """Compute the generator's losses with the weights of the last trained batch.

        Returns none in a stage without the generator, and, with a warning, if the losses need what a batch or a prediction has
        in training only.
        """
        iteration = max(self.trainer.global_step - 1, 0)
        if not self.stage_schedule.at(iteration).stage.generator:
            return {}
        losses: dict[str, Tensor] = {}
        torch.manual_seed(_derive_seed(self.seed, iteration, self.global_rank, batch_idx))
        weights = self.stage_schedule.weights(self.weights, iteration)
        try:
            self._loss_weighter.total("generator", self.generator_losses(batch, prediction), weights, 1.0, losses)
        except KeyError as error:
            rank_zero_warn(
                f"no validation loss of {type(self).__name__}: its losses need {error}, which exists in training only"
            )
            self.measures_validation_loss = False
            return {}
        return losses

    @final
    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Do as `validation_step`, for `trainer.test`."""
        return self.validation_step(batch, batch_idx)

    @final
    @torch.no_grad()
    def complete(
        self,
        image: Tensor | NDArray[Any],
        mask: Tensor | NDArray[Any],
        edges: Tensor | NDArray[Any] | None = None,
        blending: Literal["none", "poisson"] | None = None,
    ) -> Tensor:
        """Fill the holes of images of any size.

        Args:
            image: (B, 3, H, W) or (3, H, W), float in [0, 1] or uint8; what its holes hold is ignored.
            mask: (B, 1, H, W) or (H, W), 1 or True = hole; see `lit_inpaint.types.complete_inputs`.
            edges: (B, 1, H, W) or (H, W), 1 or True = edge: what to draw in the holes; see `lit_inpaint.types.complete_edges`.
                None: the paper's own.
            blending: in place of the attribute; None: the attribute.

        Returns:
            (B, 3, H, W) in [0, 1]; known pixels keep their exact values.

        Raises:
            ValueError: an argument has another shape, type or value range; the message names the remedy.
            UserError: the paper takes no edges.
        """
        image, mask = complete_inputs(image, mask)
        if edges is None:
            output = self.predict(image, mask)
        else:
            output = self.predict_with_edges(image, mask, complete_edges(edges, image))
        if (blending or self.blending) == "poisson":
            output = poisson_blend(image, output, mask)
        return composite(image, output.clamp(0, 1).to(image.dtype), mask)

    def predict(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the raw output (B, 3, H, W) for images of any size; arguments as in `complete`."""
        return predict_any_size(self, image, mask, self.multiple, self.subsample_above)

    def predict_with_edges(self, image: Tensor, mask: Tensor, edges: Tensor) -> Tensor:
        """Return the raw output as `predict`, with the `edges` (B, 1, H, W) in [0, 1] in its holes; only some papers can.

        Raises:
            UserError: this paper takes no edges.
        """
        raise self._takes_no_edges()

    def predict_edges(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the edges (B, 1, H, W) in [0, 1] that a paper with edges uses where none are given; arguments as in `predict`.

        Raises:
            UserError: this paper takes no edges.
        """
        self.require_edges()
        return torch.zeros_like(mask)

    def predict_from_edges(self, image: Tensor, mask: Tensor, edges: Tensor) -> Tensor:
        """Return the raw output as `predict`, with edges that the caller detected: exported graphs detect none.

        Args:
            image: (B, 3, H, W) in [0, 1]; what its holes hold is ignored.
            mask: (B, 1, H, W), 1 = hole.
            edges: (B, 1, H, W), 1 = edge, as `edges_input` describes.
        """
        return self.predict_with_edges(image, mask, edges)

    def require_edges(self) -> None:
        """Raise a `UserError` if `complete` takes no edges; overridden where the paper's arguments decide."""
        if type(self).predict_with_edges is Inpainter.predict_with_edges:
            raise self._takes_no_edges()

    def _takes_no_edges(self) -> UserError:
        return UserError(f"{type(self).__name__} takes no edges; leave them out, or use a network that does, as EdgeConnect")


def _derive_seed(*key: int) -> int:
    """Derive one 64-bit seed from several integers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
