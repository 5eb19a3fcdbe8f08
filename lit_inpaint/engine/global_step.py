"""One batch, one `global_step`.

Under manual optimization Lightning counts optimizer steps, so a GAN's `global_step` runs twice as fast as its batches, and
everything keyed on it (`max_steps`, checkpoints, loggers, EMA) means something else in each update order (Lightning issue
17958). Here each optimizer's own counting is switched off and the batch is counted once. These are private names of Lightning
2.6, kept in this one file; `tests/training/test_counting.py` fails if a release changes what they do.
"""

from __future__ import annotations

from lightning.pytorch import Trainer


def count_batch(trainer: Trainer) -> None:
    """Count the batch in hand as one `global_step`; call once per training step, after the optimizers' steps."""
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_ready()
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_completed()


def count_from(trainer: Trainer, batch: int) -> None:
    """Begin at batch number `batch`, as a resumed run does; call when training starts."""
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.ready = batch
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = batch


def stop_counting_optimizer_steps(trainer: Trainer) -> None:
    """Undo, for the batch in hand, Lightning's counting of every `optimizer.step()`; call before the first step."""
    for optimizer in trainer.strategy._lightning_optimizers:
        optimizer._on_before_step = optimizer._on_after_step = _nothing


def _nothing() -> None:
    return None
