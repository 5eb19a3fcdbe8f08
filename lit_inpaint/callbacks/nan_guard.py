"""A loss or a gradient that is no number any more: stop everywhere, before it is saved, and keep the batch that did it."""

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
    """After each batch looks at every loss and at the gradients of all players; stops all processes if one is NaN or infinite.

    Stands before the callbacks that save, so `last.ckpt` stays the one from before. Under fp16 only the losses are looked at:
    there a gradient that overflows is part of the plan, and its step is left out by the scaler.

    Args:
        folder: gets `step_<n>_rank_<r>.pt`: the batch, the losses, the step's number and seed; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look, and stop.

        Raises:
            UserError: on the first process, if any found something; names the losses, the file and what may help.
            SystemExit: on the others, with the status of that error.
        """
        model = cast(Inpainter, pl_module)
        losses = cast(Mapping[str, Tensor], outputs)
        gradients = [] if trainer.precision == "16-mixed" else [p.grad for p in model.parameters() if p.grad is not None]
        found = _broken([*losses.values(), *gradients])
        if not trainer.strategy.reduce_boolean_decision(found, all=False):
            return
        place = self.folder / f"step_{trainer.global_step:07d}_rank_{trainer.global_rank}.pt"
        said = {name: float(value) for name, value in losses.items()}
        bad = [f"{name} = {value}" for name, value in said.items() if not math.isfinite(value)]
        if found:
            self._save(place, {**batch, "losses": said, "step": trainer.global_step, "seed": model.seed})
        message = (
            f"step {trainer.global_step}: {', '.join(bad) or 'a gradient'} is not finite; stopped before saving; the batch is "
            f"in {place}. Lower the learning rates, clip (--model.training.clip_generator 1) or use --trainer.precision 32-true"
        )
        if trainer.world_size > 1:  # gradients are averaged, and so spoilt everywhere, and losses may be through batch norm
            images = [value for value in batch.values() if isinstance(value, Tensor)]
            message = _of_one_with(bool(bad) + _broken(images), message, trainer)
        if not trainer.is_global_zero:
            raise SystemExit(2)
        raise UserError(message)

    def _save(self, place: Path, content: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.detach().cpu().clone() for key, value in content.items() if isinstance(value, Tensor)}
        torch.save({**content, **tensors}, place)


def _of_one_with(evidence: int, message: str, trainer: Trainer) -> str:
    """The message of the process that has most `evidence`, the first of several."""
    ranks = torch.zeros(trainer.world_size, device=trainer.strategy.root_device)
    ranks[trainer.global_rank] = evidence
    source = int(cast(Tensor, trainer.strategy.reduce(ranks, reduce_op="sum")).argmax())
    return trainer.strategy.broadcast(message, src=source)


def _broken(tensors: list[Tensor]) -> bool:
    """Whether any value is NaN or infinite, with one wait for the device: the largest is finite only if all are."""
    by_kind: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in filter(torch.Tensor.numel, tensors):
        by_kind.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
    norms = [norm for kind in by_kind.values() for norm in torch._foreach_norm(kind, math.inf)]
    return bool(norms) and not bool(torch.stack([norm.float().cpu() for norm in norms]).isfinite().all())
