"""Stop all processes at a loss or gradient that is NaN or infinite, before it is saved, and keep the batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_inpaint.engine.delayed_max import DelayedMax
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.storage.tensor_file import write_tensors


class _Checked(NamedTuple):
    """A batch, its losses, and whether this process found a value that is not finite: a bool scalar on the device."""

    batch: Mapping[str, Any]
    losses: Mapping[str, Tensor]
    found: Tensor


class NaNGuard(Callback):
    """Checks all losses and gradients of each batch; stops all processes if one is NaN or infinite.

    The check runs on the device. On GPUs its result is read two batches later, or before a checkpoint is saved. So no batch
    waits for it, and no checkpoint holds the outcome of such a batch. The callback must precede those that save. Under fp16
    only the losses are checked: gradients may overflow there, and the gradient scaler skips their step.

    Args:
        folder: for `step_<n>_rank_<r>.pt` with the batch, the losses, the step and the seed; created when it is needed.
        delay: batches after which a check is read; None: 2 on GPUs, else 0.
    """

    def __init__(self, folder: Path, delay: int | None = None) -> None:
        self.folder = folder
        self._checks: DelayedMax[_Checked] = DelayedMax(delay)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the batches of an earlier run."""
        self._checks.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the batch.

        Raises:
            UserError: on rank 0, if any process found a non-finite value; names the losses, the file and the remedies.
            SystemExit: on the other ranks, with the exit status of that error.
        """
        losses = cast(Mapping[str, Tensor], outputs)
        skipped = trainer.precision == "16-mixed"
        gradients = [] if skipped else [p.grad for p in pl_module.parameters() if p.grad is not None]
        found = _any_non_finite([*losses.values(), *gradients])
        self._checks.add(trainer, found.int(), _Checked(batch, losses, found))
        self._stop_at(self._checks.due(trainer), trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read all checks before the checkpoint is written; raises as `on_train_batch_end` does."""
        self._stop_at(self._checks.rest(), trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the checks of the last batches; raises as `on_train_batch_end` does."""
        self._stop_at(self._checks.rest(), trainer, pl_module)

    def _stop_at(self, checks: Iterable[tuple[int, int, _Checked]], trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the run at the first of `checks` that failed."""
        for step, failed, checked in checks:
            if failed:
                self._checks.clear()
                self._stop(step, checked, trainer, cast(Inpainter, pl_module).seed)

    def _stop(self, step: int, checked: _Checked, trainer: Trainer, seed: int) -> NoReturn:
        path = self.folder / f"step_{step:07d}_rank_{trainer.global_rank}.pt"
        values = {name: float(value) for name, value in checked.losses.items()}
        bad = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
        where = f"is in {path}"
        if checked.found:
            try:
                self._save(path, {**checked.batch, "losses": values, "step": step, "seed": seed})
            except OSError as error:
                where = f"could not be written to {path} ({error.strerror or error})"
        message = (
            f"step {step}: {', '.join(bad) or 'a gradient'} is not finite; stopped before saving; the batch "
            f"{where}. Lower the learning rates, clip (--model.training.clip_generator 1) or use --trainer.precision 32-true"
        )
        if trainer.world_size > 1:  # gradients are averaged, so they are non-finite everywhere; so may losses be, by batch norm
            images = [value for value in checked.batch.values() if isinstance(value, Tensor)]
            message = _message_of_origin(bool(bad) + int(_any_non_finite(images)), message, trainer)
        if not trainer.is_global_zero:
            raise SystemExit(2)
        raise UserError(message)

    def _save(self, path: Path, content: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.detach().cpu().clone() for key, value in content.items() if isinstance(value, Tensor)}
        write_tensors({**content, **tensors}, path)


def _message_of_origin(evidence: int, message: str, trainer: Trainer) -> str:
    """Broadcast the message of the process with the most `evidence`; of several, the lowest rank."""
    ranks = torch.zeros(trainer.world_size, device=trainer.strategy.root_device)
    ranks[trainer.global_rank] = evidence
    source = int(cast(Tensor, trainer.strategy.reduce(ranks, reduce_op="sum")).argmax())
    return trainer.strategy.broadcast(message, src=source)


def _any_non_finite(tensors: list[Tensor]) -> Tensor:
    """Return a bool scalar, on the device of the first tensor: whether any value is NaN or infinite."""
    by_kind: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in filter(torch.Tensor.numel, tensors):
        by_kind.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
    if not by_kind:
        return torch.tensor(False)
    # The max of absolute values is finite only if all values are.
    flags = [torch.stack(torch._foreach_norm(kind, math.inf)).isfinite().all().logical_not() for kind in by_kind.values()]
    return torch.stack([flag.to(flags[0].device) for flag in flags]).any()
