"""Train in several processes: validate the strategy, synchronize gradients and buffers, exit together.

Supported: one device, and Lightning's DDP (`ddp`, `ddp_spawn`, … on CPUs and GPUs). In a simultaneous stage every parameter
gets a gradient in the one backward, which plain DDP expects. In any other stage some backward leaves out a player or a frozen
module; DDP then has to search for unused parameters.

Refused: DeepSpeed takes a single optimizer. FSDP shards the parameters of both players into flat ones, so that the
discriminator can no longer be frozen in the generator's loss, nor one player be clipped alone.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, ParallelStrategy, SingleDeviceStrategy, Strategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lit_inpaint.errors import UserError
from lit_inpaint.settings import Stage


def has_unused_parameters(stages: Iterable[Stage], has_discriminator: bool) -> bool:
    """Return whether some backward does not reach all parameters.

    Args:
        stages: of the run.
        has_discriminator: whether the paper has one.
    """
    return any(
        stage.frozen or (has_discriminator and (stage.update != "simultaneous" or len(stage.players) == 1)) for stage in stages
    )


def validate_strategy(strategy: Strategy, stages: Iterable[Stage], has_discriminator: bool) -> None:
    """Let DDP search for unused parameters where the stages need it; refuse a strategy under which training would go wrong.

    Call before the strategy wraps the model. `_ddp_kwargs` is a private name of Lightning 2.6; the tests with two processes
    fail if it changes.

    Args:
        strategy: of the trainer.
        stages: of the run.
        has_discriminator: whether the paper has one.

    Raises:
        UserError: names the reason and a strategy to use.
    """
    if isinstance(strategy, SingleDeviceStrategy):
        return
    if not isinstance(strategy, DDPStrategy) or isinstance(strategy, DeepSpeedStrategy):  # a subclass of DDPStrategy
        raise UserError(
            f"{type(strategy).__name__} cannot train two players with an optimizer each (DeepSpeed takes one optimizer, FSDP "
            "merges parameters that are frozen and clipped apart); use --trainer.strategy ddp or auto"
        )
    strategy._ddp_kwargs.setdefault("gradient_as_bucket_view", True)  # no copy of each gradient from what was all-reduced
    unused = has_unused_parameters(stages, has_discriminator)
    if unused and not strategy._ddp_kwargs.setdefault("find_unused_parameters", True):
        raise UserError(
            "this strategy expects a gradient for every parameter in each backward, which the stages do not give; use "
            "--trainer.strategy ddp or auto"
        )


def describe_strategy(processes: int, strategy: object, stages: Iterable[Stage], has_discriminator: bool) -> str:
    """Describe in a few words how the processes of a run train together, and why.

    Args:
        processes: number of processes of the run.
        strategy: the trainer's setting.
        stages: of the run.
        has_discriminator: whether the paper has one.
    """
    if processes == 1:
        return "one device"
    name = "ddp" if strategy == "auto" else str(strategy)
    if has_unused_parameters(stages, has_discriminator):
        return f"{name}, searching for unused parameters: some backward leaves out a player or a frozen module"
    if "find_unused_parameters_true" in name:
        return f"{name}, as requested"
    return f"{name}, plain: every backward reaches every parameter"


def no_sync(strategy: Strategy, enabled: bool) -> AbstractContextManager[None]:
    """Accumulate gradients in this process only; the next backward outside averages their sums over the processes."""
    if enabled and isinstance(strategy, ParallelStrategy):
        return cast(AbstractContextManager[None], strategy.block_backward_sync())
    return nullcontext()


def broadcast_buffers_in_forward(trainer: Trainer) -> None:
    """Let DDP broadcast rank 0's buffers, such as the running statistics of batch norm, in the next forward.

    DDP does so by itself, but not under Lightning's manual optimization. Without it the buffers of the processes drift apart. A
    stage that normalizes by running statistics would then differ between processes, and again after a resume.
    """
    if isinstance(trainer.model, DistributedDataParallel):
        trainer.model.require_forward_param_sync = True  # DDP resets it in the forward


def broadcast_buffers(trainer: Trainer, module: nn.Module) -> None:
    """Broadcast rank 0's buffers now, so that all processes validate the same network.

    DDP could not do that in the forward of a validation: the processes may have different numbers of batches.
    """
    if trainer.world_size == 1:
        return
    for buffer in module.buffers():
        contiguous = buffer.contiguous()  # a broadcast sends memory, regardless of the layout
        torch.distributed.broadcast(contiguous, src=0)
        if contiguous is not buffer:
            buffer.copy_(contiguous)


@contextmanager
def exit_together(trainer: Trainer, timeout: float = 15) -> Iterator[None]:
    """When this process leaves by an exception, wait for the processes that Lightning launched, and kill those that stay.

    After a signal or an error all processes exit with a status other than 0. Lightning's monitor, which polls every five
    seconds, takes such a status for a crash and kills this process, even while it prints or saves.

    Args:
        trainer: of the run.
        timeout: seconds to wait for each process.
    """
    try:
        yield
    except BaseException:
        monitored = getattr(trainer.strategy.launcher, "procs", [])
        launched = [process for process in monitored if isinstance(process, subprocess.Popen)]
        monitored[:] = []  # in place: the monitor reads this list
        for process in launched:
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
        raise
