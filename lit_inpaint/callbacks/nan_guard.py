"""Stop all processes at a loss or gradient that is NaN or infinite, before it is saved, and keep the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError


class NaNGuard(Callback):
    """Checks all losses and gradients after each batch; stops all processes if one is NaN or infinite.

    It must precede the callbacks that save, so that `last.ckpt` stays finite. Under fp16 only the losses are checked: gradients
    may overflow there, and the gradient scaler skips their step.

    Args:
        folder: for `step_<n>_rank_<r>.pt` with the batch, the losses, the step and the seed; created when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the batch.

        Raises:
            UserError: on rank 0, if any process found a non-finite value; names the losses, the file and the remedies.
            SystemExit: on the other ranks, with the exit status of that error.
        """
        model = cast(Inpainter, pl_module)
        losses = cast(Mapping[str, Tensor], outputs)
        gradients = [] if trainer.precision == "16-mixed" else [p.grad for p in model.parameters() if p.grad is not None]
        found = _any_non_finite([*losses.values(), *gradients])
        if not trainer.strategy.reduce_boolean_decision(found, all=False):
            return
        path = self.folder / f"step_{trainer.global_step:07d}_rank_{trainer.global_rank}.pt"
        values = {name: float(value) for name, value in losses.items()}
        bad = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
        if found:
            self._save(path, {**batch, "losses": values, "step": trainer.global_step, "seed": model.seed})
        message = (
            f"step {trainer.global_step}: {', '.join(bad) or 'a gradient'} is not finite; stopped before saving; the batch is "
            f"in {path}. Lower the learning rates, clip (--model.training.clip_generator 1) or use --trainer.precision 32-true"
        )
        if trainer.world_size > 1:  # gradients are averaged, so they are non-finite everywhere; so may losses be, by batch norm
            images = [value for value in batch.values() if isinstance(value, Tensor)]
            message = _message_of_origin(bool(bad) + _any_non_finite(images), message, trainer)
        if not trainer.is_global_zero:
            raise SystemExit(2)
        raise UserError(message)

    def _save(self, path: Path, content: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.detach().cpu().clone() for key, value in content.items() if isinstance(value, Tensor)}
        torch.save({**content, **tensors}, path)


def _message_of_origin(evidence: int, message: str, trainer: Trainer) -> str:
    """Broadcast the message of the process with the most `evidence`; of several, the lowest rank."""
    ranks = torch.zeros(trainer.world_size, device=trainer.strategy.root_device)
    ranks[trainer.global_rank] = evidence
    source = int(cast(Tensor, trainer.strategy.reduce(ranks, reduce_op="sum")).argmax())
    return trainer.strategy.broadcast(message, src=source)


def _any_non_finite(tensors: list[Tensor]) -> bool:
    """Return whether any value is NaN or infinite, with one device synchronization: the max is finite only if all are."""
    by_kind: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in filter(torch.Tensor.numel, tensors):
        by_kind.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
    norms = [norm for kind in by_kind.values() for norm in torch._foreach_norm(kind, math.inf)]
    return bool(norms) and not bool(torch.stack([norm.float().cpu() for norm in norms]).isfinite().all())
