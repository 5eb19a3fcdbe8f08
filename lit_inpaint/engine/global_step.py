"""Count one batch as one `global_step`.

Under manual optimization Lightning counts optimizer steps. A GAN's `global_step` then runs twice as fast as its batches, and
whatever depends on it (`max_steps`, checkpoints, loggers, EMA) has another meaning in each update order (Lightning issue
17958). Here each optimizer's own counting is disabled, and the batch is counted once. The names used are private in Lightning
2.6 and stand only in this file; `tests/engine/test_global_step.py` fails if a release changes their meaning.
"""

from __future__ import annotations

from lightning.pytorch import Trainer


def count_batch(trainer: Trainer) -> None:
    """Count the current batch as one `global_step`; call once per training step, after the optimizers' steps."""
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_ready()
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_completed()


def set_global_step(trainer: Trainer, step: int) -> None:
    """Start at batch number `step`, as a resumed run does; call when training starts."""
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.ready = step
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = step


def stop_counting_optimizer_steps(trainer: Trainer) -> None:
    """Disable, for the current batch, Lightning's counting of every `optimizer.step()`; call before the first step."""
    for optimizer in trainer.strategy._lightning_optimizers:
        optimizer._on_before_step = optimizer._on_after_step = _do_nothing


def _do_nothing() -> None:
    return None
