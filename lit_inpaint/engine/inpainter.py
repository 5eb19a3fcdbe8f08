"""The training engine every paper shares: whose turn, weights, backward, clip, step, count.

A paper gives two networks and says what their losses are; `training_step` is final. In plain PyTorch, with `g` and `d` the
players' weighted losses and every generator loss seeing the discriminator through frozen weights, one batch is

    simultaneous       prediction = G(x); (g(prediction) + d(prediction.detach())).backward(); step G; step D
    alternating        prediction = G(x); d(prediction.detach()).backward(); step D; g(prediction).backward(); step G
    generator_first    prediction = G(x); g(prediction).backward(); step G; d(prediction.detach()).backward(); step D

with both gradients cleared first. "simultaneous" takes both gradients at the old weights in one backward, so plain DDP sees
all parameters once. "alternating" repeats D's two moves `d_steps` times; G then learns against the new D. "generator_first"
has D learn from the image that G made before its own step: each player still learns from the other's old weights, so it equals
"simultaneous", but in two backwards, as fp16 needs. In each of them **one batch is one `global_step`**.

What stands around these lines is in `training/`: the plan of a run's stages and what scheduled numbers are worth there, the
stage put in force, a batch in parts for accumulation, terms and weights, weights kept still, the count, several processes.

Randomness inside a step (dropout, interpolation points) is a function of (seed, global_step, rank): a resumed run needs no
saved generator state to repeat it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal, TypeVar, cast, final

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lit_inpaint.engine.any_size import complete_subsampled, pad_to_multiple
from lit_inpaint.engine.ddp_strategy import no_sync, share_buffers_first
from lit_inpaint.engine.freezing import frozen
from lit_inpaint.engine.global_step import count_batch, stop_counting_optimizer_steps
from lit_inpaint.engine.gradient_accumulation import MicroBatch, concat_predictions, slice_prediction, split_batch
from lit_inpaint.engine.staged import StagedModule
from lit_inpaint.engine.weighted_loss import LossWeighter
from lit_inpaint.losses.adversarial import at_least_float32
from lit_inpaint.settings import OptimizerSettings, Player, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, check_batch, composite

Logits = TypeVar("Logits", Tensor, Sequence[Tensor])


class Inpainter(StagedModule):
    """Base of every paper. A paper sets `generator` and `discriminator` and gives `forward` and its losses.

    Args:
        weights: dataclass of numbers or schedules whose fields are the names of the loss terms of both players.
        generator_optimizer: how the generator steps.
        discriminator_optimizer: how the discriminator steps; None where the paper has none.
        training: clipping, accumulation, memory layout, compilation.
        stages: update order, duration and overrides of each stage; None is one stage in which both players learn.

    Attributes:
        generator: (what `forward` calls) the network that is kept.
        discriminator: its opponent, or None.
        multiple: of which the sides of the images must be multiples; `predict` pads others.
        subsample_above: `predict` completes images with a longer side by subsampling them to squares of this side; None: never.
        published_as: names of the variants in the paper's tables and the arguments that make them.
        published_in: the file of those tables in `lit_inpaint.published`, if it is not named like the paper's module.
        seed: of the randomness inside training steps; travels in the checkpoint.
        scores: the discriminator's mean scores in its last turn, as far as `record_logits` was told; detached scalars for the log.
    """

    multiple: ClassVar[int] = 1
    subsample_above: int | None = None

    def __init__(
        self,
        weights: object,
        generator_optimizer: OptimizerSettings,
        discriminator_optimizer: OptimizerSettings | None,
        training: Training,
        stages: tuple[Stage, ...] | None = None,
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        self._scales = LossWeighter(type(self).__name__, weights)
        self._batch_checked = False
        self.scores: dict[str, Tensor] = {}
        self._mean_logits: dict[str, Tensor] = {}

    # What a paper says ------------------------------------------------------------------------------------------------------

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Complete `image` (B, 3, H, W) in [0, 1] where `mask` (B, 1, H, W) is 1; what the holes of `image` hold is ignored."""
        raise NotImplementedError

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """The generator's terms, unweighted; gradients reach `prediction` but not the discriminator."""
        raise NotImplementedError

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """The discriminator's terms, unweighted; `prediction` is detached."""
        raise NotImplementedError

    @final
    def record_logits(self, what: Literal["real", "fake"], scores: Logits) -> Logits:
        """Note the discriminator's mean score of what it judges; `discriminator_losses` calls it in passing.

        Args:
            what: "real" becomes `d_real` in `scores`, "fake" becomes `d_fake`.
            scores: logits, of one scale or of several; handed back as they are. Above 0, images are judged real.
        """
        scales = [scores] if isinstance(scores, Tensor) else scores
        self._mean_logits[f"d_{what}"] = torch.stack([at_least_float32(scale.detach()).mean() for scale in scales]).mean()
        return scores

    # One batch --------------------------------------------------------------------------------------------------------------

    @final
    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Learn from one batch as the current stage says.

        Returns:
            The unweighted terms by name, and each player's weighted total under its own name; all detached scalars.
        """
        torch.manual_seed(_mix(self.seed, self.trainer.global_step, self.global_rank))
        stage = self._enter(self.trainer.global_step)
        log: dict[str, Tensor] = {}
        self.scores = {}
        stop_counting_optimizer_steps(self.trainer)
        if stage.update == "simultaneous":
            self._simultaneous(stage, batch, log)
        elif stage.update == "alternating":
            self._alternating(stage, batch, log)
        else:
            self._generator_first(stage, batch, log)
        self._scales.check_complete(self.players)
        count_batch(self.trainer)
        return log

    def _simultaneous(self, stage: Stage, batch: Batch, log: dict[str, Tensor]) -> None:
        parts = split_batch(batch, max(self._parts(player) for player in stage.players))
        for player in stage.players:
            self._optimizer(player).zero_grad()
        for part in parts:
            prediction = self._predict(part, stage.generator)
            losses = [self._loss(player, part, prediction, log) for player in stage.players]
            self._backward(sum(losses[1:], losses[0]), part)
        for player in stage.players:
            self._optimizer(player).step()

    def _alternating(self, stage: Stage, batch: Batch, log: dict[str, Tensor]) -> None:
        seen, own = split_batch(batch, self._parts("discriminator")), split_batch(batch, self._parts("generator"))
        one_forward = stage.generator and len(seen) == len(own) == 1  # in parts its graph is what memory has no room for
        if stage.discriminator or one_forward:
            predictions = [self._predict(part, one_forward) for part in seen]
        if stage.discriminator:
            for _ in range(stage.d_steps):
                self._turn("discriminator", seen, predictions, log)
        if stage.generator:
            self._turn("generator", own, predictions if one_forward else (self._predict(part) for part in own), log)

    def _generator_first(self, stage: Stage, batch: Batch, log: dict[str, Tensor]) -> None:
        own, made = split_batch(batch, self._parts("generator")), list[Prediction]()

        def predictions() -> Iterator[Prediction]:
            for part in own:
                prediction = self._predict(part, stage.generator)
                made.append(prediction.detach())
                yield prediction

        if stage.generator:
            self._turn("generator", own, predictions(), log)
        if stage.discriminator:
            whole = concat_predictions(made or predictions())
            seen = split_batch(batch, self._parts("discriminator"))
            self._turn("discriminator", seen, (slice_prediction(whole, part) for part in seen), log)

    def _turn(self, player: Player, parts: list[MicroBatch], predictions: Iterable[Prediction], log: dict[str, Tensor]) -> None:
        """One whole turn of one player: gradients of all parts, then a step."""
        optimizer, said = self._optimizer(player), dict[str, Tensor]()
        optimizer.zero_grad()
        if player == "discriminator":
            self.scores = {}
        for part, prediction in zip(parts, predictions, strict=True):
            self._backward(self._loss(player, part, prediction, said), part)
        optimizer.step()
        log.update(said)  # of several turns, the last

    def _predict(self, part: MicroBatch, learn: bool = True) -> Prediction:
        with torch.set_grad_enabled(learn):
            return cast(Prediction, self(part.batch["image"], part.batch["mask"]))

    def _loss(self, player: Player, part: MicroBatch, prediction: Prediction, log: dict[str, Tensor]) -> Tensor:
        """Weighted sum of a player's terms, times the part's share of the batch; the terms are written into `log`."""
        weights = self.stage_schedule.weights(self.weights, self.trainer.global_step)
        if player == "generator":
            with frozen(self.discriminator):
                terms = self.generator_losses(part.batch, prediction)
                return self._scales.total(player, terms, weights, part.share, log)
        self._mean_logits.clear()
        terms = self.discriminator_losses(part.batch, prediction.detach())
        total = self._scales.total(player, terms, weights, part.share, log)
        for name, mean in self._mean_logits.items():
            self.scores[name] = self.scores.get(name, 0) + part.share * mean
        return total

    def _backward(self, loss: Tensor, part: MicroBatch) -> None:
        with no_sync(self.trainer.strategy, not part.last):
            self.manual_backward(loss)
        # Autocast by itself keeps low-precision copies of the weights until the training step is over: a second forward would
        # meet those from before the optimizer's step, or, after one without gradients, copies that lead no gradient to the
        # weights. Lightning 2.6 has it keep none; another release or plugin may not.
        torch.clear_autocast_cache()

    @final
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip; in this hook, because earlier the gradients still carry the scale of fp16."""
        number = next(i for i, known in enumerate(self.trainer.optimizers) if known is optimizer)
        clip = getattr(self.training_settings, f"clip_{self._owners[number]}")
        if clip is not None:
            self.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")

    def _parts(self, player: Player) -> int:
        """How many parts a batch has in a player's turn."""
        return cast(int, getattr(self.training_settings, f"accumulate_{player}"))

    # Around it --------------------------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Look at the first batch of this run."""
        super().on_fit_start()
        self._batch_checked = False

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Hold the first batch of a run against the contract and say how much of it is hole."""
        share_buffers_first(self.trainer)
        if not self._batch_checked:  # not `batch_idx == 0`: a resumed run starts in the middle of an epoch
            self._batch_checked = True
            share = check_batch(batch)
            rank_zero_info(f"First batch: {tuple(batch['image'].shape)}, mean hole share {share:.1%} (1 = hole)")

    # Use --------------------------------------------------------------------------------------------------------------------

    @final
    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The raw prediction and its stages, for the callbacks that measure and draw."""
        prediction = cast(Prediction, self(batch["image"], batch["mask"]))
        return {"image": prediction.image, **prediction.stages}

    @final
    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """As `validation_step`, for `trainer.test`."""
        return self.validation_step(batch, batch_idx)

    @final
    @torch.no_grad()
    def complete(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the holes of images of any size.

        Args:
            image: (B, 3, H, W) in [0, 1]; what its holes hold is ignored.
            mask: (B, 1, H, W), 1 = hole.

        Returns:
            (B, 3, H, W) in [0, 1]; known pixels keep their exact values.
        """
        return composite(image, self.predict(image, mask).clamp(0, 1).to(image.dtype), mask)

    def predict(self, image: Tensor, mask: Tensor) -> Tensor:
        """Compute the raw output for images of any size (see `any_size`); `complete` takes the hole pixels of it.

        Args:
            image: (B, 3, H, W) in [0, 1]; what its holes hold is ignored.
            mask: (B, 1, H, W), 1 = hole.

        Returns:
            (B, 3, H, W).
        """
        height, width = image.shape[-2:]
        if self.subsample_above is not None and max(height, width) > self.subsample_above:
            emptied = torch.where(mask > 0.5, 1.0, image)  # resizing would mix the content of holes into known pixels
            return complete_subsampled(
                lambda part, hole: composite(part, self(part, hole).image, hole), emptied, mask, self.subsample_above
            )
        padded: Prediction = self(*pad_to_multiple(image, mask, self.multiple))
        return padded.image[..., :height, :width]


def _mix(*key: int) -> int:
    """One 64-bit seed out of several integers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
