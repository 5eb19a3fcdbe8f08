"""Exponential moving average (EMA) of the generator's weights, used in validation, test and `lit_inpaint.load`."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError


class GeneratorEMA(Callback):
    """Updates EMA weights = d * EMA weights + (1 - d) * weights after each batch, floating-point buffers included.

    At update n = 1, 2, ... the decay d is min(decay, (1 + n) / (10 + n)), as with `num_updates` in torch_ema and TensorFlow. A
    constant decay of 0.999 would still leave 8 % of the initial weights in the average after 2,500 batches. The warm-up ends
    after about 9 / (1 - decay) batches.

    Training continues with the raw weights, which the checkpoint's `state_dict` holds. The EMA weights are in the callback's
    state; `lit_inpaint.load` loads them into the generator.

    Args:
        decay: fraction of the old EMA weights kept at each batch after the warm-up, in [0, 1).

    Attributes:
        weights: the EMA weights, a state dict of the generator; empty before training starts.
        updates: number of updates.

    Raises:
        UserError: `decay` is outside [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"ema decay is {decay}; give a number from 0 up to, not including, 1")
        self.decay = decay
        self.updates = 0
        self.weights: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the current weights, unless a checkpoint contained EMA weights."""
        current = _generator(pl_module).state_dict()
        if not self.weights:
            self.weights = {name: tensor.detach().clone() for name, tensor in current.items()}
        self.weights = {name: tensor.to(current[name].device) for name, tensor in self.weights.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update once per batch, whatever the update order."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = _generator(pl_module).state_dict()
        floats = [name for name, tensor in current.items() if tensor.is_floating_point()]
        others = [name for name, tensor in current.items() if not tensor.is_floating_point()]
        # Few kernels for all tensors together, instead of one for each.
        torch._foreach_lerp_([self.weights[name] for name in floats], [current[name] for name in floats], 1 - decay)
        if others:
            torch._foreach_copy_([self.weights[name] for name in others], [current[name] for name in others])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the EMA weights in; a model that was not trained with this callback has none."""
        if not self.weights:
            return
        generator = _generator(pl_module)
        self._raw = {name: tensor.detach().clone() for name, tensor in generator.state_dict().items()}
        generator.load_state_dict(self.weights)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the raw weights back in."""
        if self._raw:
            _generator(pl_module).load_state_dict(self._raw)
            self._raw = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the EMA weights in."""
        self.on_validation_start(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the raw weights back in."""
        self.on_validation_end(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Swap the raw weights back in after an interrupted validation."""
        self.on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the EMA weights and the number of updates."""
        return {"decay": self.decay, "updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the EMA weights of a checkpoint."""
        self.updates, self.weights = state_dict["updates"], state_dict["weights"]


def _generator(module: LightningModule) -> torch.nn.Module:
    return cast(Inpainter, module).generator
