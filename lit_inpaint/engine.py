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

Randomness inside a step (dropout, interpolation points) is a function of (seed, global_step, rank): a resumed run needs no
saved generator state to repeat it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, cast, final

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import pad

from lit_inpaint import __version__
from lit_inpaint.counting import count_batch, stop_counting_optimizer_steps
from lit_inpaint.settings import OptimizerSettings, Stage, Training, plain, stage_at
from lit_inpaint.types import Batch, Prediction, Terms, UserError, check_batch, composite

Player = Literal["generator", "discriminator"]


class Inpainter(LightningModule):
    """Base of every paper. A paper sets `generator` and `discriminator` and gives `forward` and its losses.

    Args:
        weights: dataclass of floats whose fields are the names of the loss terms of both players.
        generator_optimizer: how the generator steps.
        discriminator_optimizer: how the discriminator steps; None where the paper has none.
        training: clipping and memory layout.

    Attributes:
        generator: (what `forward` calls) the network that is kept.
        discriminator: its opponent, or None.
        multiple: `complete` pads images to multiples of this many pixels.
        published_as: names of the variants in the paper's tables and the arguments that make them.
        seed: of the randomness inside training steps; travels in the checkpoint.
    """

    generator: nn.Module
    discriminator: nn.Module | None
    multiple: ClassVar[int] = 1
    published_as: ClassVar[dict[str, dict[str, object]]] = {}

    def __init__(
        self,
        weights: object,
        generator_optimizer: OptimizerSettings,
        discriminator_optimizer: OptimizerSettings | None,
        training: Training,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.save_hyperparameters(logger=False)  # the paper's arguments: Lightning walks up to its constructor's frame
        self.weights = weights
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.training_settings = training
        self.seed = 0
        self._batch_checked = False
        self._weights_checked = False

    # What a paper says ------------------------------------------------------------------------------------------------------

    def stages(self) -> tuple[Stage, ...]:
        """Who plays when; one simultaneous adversarial stage unless the paper says otherwise."""
        return (Stage(discriminator=self.discriminator is not None),)

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Complete `image` (B, 3, H, W) in [0, 1] where `mask` (B, 1, H, W) is 1; what the holes of `image` hold is ignored."""
        raise NotImplementedError

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """The generator's terms, unweighted; gradients reach `prediction` but not the discriminator."""
        raise NotImplementedError

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """The discriminator's terms, unweighted; `prediction` is detached."""
        raise NotImplementedError

    # Training ---------------------------------------------------------------------------------------------------------------

    @final
    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Learn from one batch as the current stage says.

        Returns:
            The unweighted terms by name, and each player's weighted total under its own name; all detached scalars.
        """
        iteration = self.trainer.global_step
        torch.manual_seed(_mix(self.seed, iteration, self.global_rank))
        stage = stage_at(self.stages(), iteration)
        log: dict[str, Tensor] = {}
        stop_counting_optimizer_steps(self.trainer)
        if stage.update == "simultaneous":
            self._simultaneous(stage, batch, log)
        elif stage.update == "alternating":
            self._alternating(stage, batch, log)
        else:
            self._generator_first(stage, batch, log)
        if stage.generator and (stage.discriminator or self.discriminator is None):
            self._check_weights(log)
        count_batch(self.trainer)
        return log

    def _simultaneous(self, stage: Stage, batch: Batch, log: dict[str, Tensor]) -> None:
        prediction = self._predict(stage, batch)
        losses = []
        if stage.generator:
            losses.append(self._loss("generator", batch, prediction, log))
        if stage.discriminator:
            losses.append(self._loss("discriminator", batch, prediction, log))
        self._backward(sum(losses[1:], losses[0]), stage)
        if stage.generator:
            self._optimizer("generator").step()
        if stage.discriminator:
            self._optimizer("discriminator").step()

    def _alternating(self, stage: Stage, batch: Batch, log: dict[str, Tensor]) -> None:
        prediction = self._predict(stage, batch)
        if stage.discriminator:
            for _ in range(stage.d_steps):
                self._play("discriminator", batch, prediction, log)
        if stage.generator:
            self._play("generator", batch, prediction, log)

    def _generator_first(self, stage: Stage, batch: Batch, log: dict[str, Tensor]) -> None:
        prediction = self._predict(stage, batch)
        if stage.generator:
            self._play("generator", batch, prediction, log)
        if stage.discriminator:
            self._play("discriminator", batch, prediction, log)

    def _predict(self, stage: Stage, batch: Batch) -> Prediction:
        with torch.set_grad_enabled(stage.generator):
            return cast(Prediction, self(batch["image"], batch["mask"]))

    def _play(self, player: Player, batch: Batch, prediction: Prediction, log: dict[str, Tensor]) -> None:
        """One whole turn of one player."""
        loss = self._loss(player, batch, prediction, log)
        self._optimizer(player).zero_grad()
        self.manual_backward(loss)
        self._optimizer(player).step()

    def _backward(self, loss: Tensor, stage: Stage) -> None:
        """Backward of all players at once."""
        for player in ("generator", "discriminator"):
            if getattr(stage, player):
                self._optimizer(player).zero_grad()
        self.manual_backward(loss)

    def _loss(self, player: Player, batch: Batch, prediction: Prediction, log: dict[str, Tensor]) -> Tensor:
        """Weighted sum of a player's terms, which are written into `log`."""
        if player == "generator":
            with frozen(self.discriminator):
                terms = self.generator_losses(batch, prediction)
        else:
            terms = self.discriminator_losses(batch, prediction.detach())
        weights = {field.name: getattr(self.weights, field.name) for field in dataclasses.fields(cast(Any, self.weights))}
        if unknown := terms.keys() - weights.keys():
            raise ValueError(f"{type(self).__name__} has no weight for {_list(unknown)}; its weights are {_list(weights)}")
        weighted = [weights[name] * term for name, term in terms.items()]
        total: Tensor = sum(weighted[1:], weighted[0])
        log.update({name: term.detach() for name, term in terms.items()})
        log[player] = total.detach()
        return total

    @final
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip; in this hook, because earlier the gradients still carry the scale of fp16."""
        player = "generator" if optimizer is self.trainer.optimizers[0] else "discriminator"
        clip = getattr(self.training_settings, f"clip_{player}")
        if clip is not None:
            self.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")

    def _optimizer(self, player: Player) -> LightningOptimizer:
        optimizers = cast(Any, self.optimizers())
        if self.discriminator is None:
            return cast(LightningOptimizer, optimizers)
        return cast(LightningOptimizer, optimizers[("generator", "discriminator").index(player)])

    def _check_weights(self, log: Mapping[str, Tensor]) -> None:
        """Once every player has played: a weight without a term is as much a mistake as a term without a weight."""
        if self._weights_checked:
            return
        self._weights_checked = True
        names = [field.name for field in dataclasses.fields(cast(Any, self.weights))]
        terms = log.keys() - {"generator", "discriminator"}
        if idle := [name for name in names if name not in terms]:
            raise ValueError(f"{type(self).__name__} weighs {_list(idle)}, but its losses give only {_list(terms)}")

    # Around training --------------------------------------------------------------------------------------------------------

    @final
    def stage_name(self, iteration: int) -> str:
        """The name of the stage that batch number `iteration` belongs to; after the last batch, of the one it ended in."""
        try:
            return stage_at(self.stages(), iteration).name
        except ValueError:
            return self.stages()[-1].name

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Generator first, then the discriminator where there is one."""
        optimizers = [self.generator_optimizer.build(self.generator.parameters())]
        if self.discriminator is not None:
            if self.discriminator_optimizer is None:
                raise ValueError(f"{type(self).__name__} has a discriminator but no discriminator_optimizer")
            optimizers.append(self.discriminator_optimizer.build(self.discriminator.parameters()))
        return optimizers

    def configure_model(self) -> None:
        """Memory layout, before DDP and the optimizers look at the parameters."""
        if self.training_settings.channels_last:
            self.to(memory_format=torch.channels_last)

    def on_fit_start(self) -> None:
        """Refuse what would silently train wrong."""
        self._batch_checked = False
        together = [s for s in self.stages() if s.update == "simultaneous" and s.generator and s.discriminator]
        if self.trainer.precision == "16-mixed" and together:
            raise UserError(
                "--trainer.precision 16-mixed scales one player's gradients wrongly in a simultaneous update "
                "(one scaler, two optimizers, one backward); use bf16-mixed or 32-true"
            )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Hold the first batch of a run against the contract and say how much of it is hole."""
        if not self._batch_checked:  # not `batch_idx == 0`: a resumed run starts in the middle of an epoch
            self._batch_checked = True
            share = check_batch(batch)
            rank_zero_info(f"First batch: {tuple(batch['image'].shape)}, mean hole share {share:.1%} (1 = hole)")

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
            "versions": {"lit_inpaint": __version__, "torch": str(torch.__version__), "numpy": np.__version__},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the checkpoint's seed."""
        self.seed = checkpoint["lit_inpaint"]["seed"]

    # Use --------------------------------------------------------------------------------------------------------------------

    @final
    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The raw prediction and its stages, for the callbacks that measure and draw."""
        prediction = cast(Prediction, self(batch["image"], batch["mask"]))
        return {"image": prediction.image, **prediction.stages}

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
        height, width = image.shape[-2:]
        extra = (0, -width % self.multiple, 0, -height % self.multiple)
        # Replicated, not reflected: reflection needs an image larger than the padding.
        padded = cast(Prediction, self(pad(image, extra, mode="replicate"), pad(mask, extra, mode="replicate")))
        return composite(image, padded.image[..., :height, :width].clamp(0, 1).to(image.dtype), mask)


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """Within it, what `module` computes depends on its weights as on constants: gradients pass through it, not into it."""
    parameters = [p for p in module.parameters() if p.requires_grad] if module is not None else []
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _mix(*key: int) -> int:
    """One 64-bit seed out of several integers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def _list(names: object) -> str:
    return ", ".join(sorted(cast(Any, names)))
