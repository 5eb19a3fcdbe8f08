"""An exponential moving average of the generator, used wherever images are made; training goes on with the raw weights."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError


class GeneratorEMA(Callback):
    """average = decay * average + (1 - decay) * weights after each batch, parameters and floating buffers alike.

    Only the generator is averaged. The checkpoint's `state_dict` holds the raw weights; the average stands in the callback's
    state and `lit_inpaint.load` puts it in place.

    Args:
        decay: share of the old average kept at each batch, in [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"ema decay is {decay}; give a number from 0 up to, not including, 1")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the weights in hand, unless a checkpoint brought an average."""
        current = _generator(pl_module).state_dict()
        if not self.average:
            self.average = {name: tensor.detach().clone() for name, tensor in current.items()}
        self.average = {name: tensor.to(current[name].device) for name, tensor in self.average.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One batch, one update, whatever the update order."""
        for name, tensor in _generator(pl_module).state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - self.decay)
            else:
                self.average[name].copy_(tensor)
        self.updates += 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the average, if there is one: a model that was not trained here has none."""
        if not self.average:
            return
        generator = _generator(pl_module)
        self._raw = {name: tensor.detach().clone() for name, tensor in generator.state_dict().items()}
        generator.load_state_dict(self.average)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train the raw weights."""
        if self._raw:
            _generator(pl_module).load_state_dict(self._raw)
            self._raw = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the average in `trainer.test` too."""
        self.on_validation_start(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the raw weights back."""
        self.on_validation_end(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """An interrupted validation must not leave the average in the raw weights' place."""
        self.on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The average and how often it was updated."""
        return {"decay": self.decay, "updates": self.updates, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the average of the checkpoint."""
        self.updates, self.average = state_dict["updates"], state_dict["average"]


def _generator(module: LightningModule) -> torch.nn.Module:
    return cast(Inpainter, module).generator
