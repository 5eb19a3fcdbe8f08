"""Several processes: which strategies an update order can run under, what the processes must share, how they end together.

Works: one device, and Lightning's DDP (`ddp`, `ddp_spawn`, … on CPUs and GPUs). In a simultaneous stage every parameter gets a
gradient in the one backward, which plain DDP expects. Any other stage leaves a player, or a frozen part, without one in some
backward; DDP is then told to look for unused parameters.

Refused: DeepSpeed takes a single optimizer, and FSDP shards the parameters of both players into flat ones, so that freezing the
discriminator in the generator's loss and clipping one player alone are no longer possible.
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


def leaves_parameters_out(stages: Iterable[Stage], opponents: bool) -> bool:
    """Whether some backward reaches not all parameters.

    Args:
        stages: of the run.
        opponents: whether there is a discriminator.
    """
    return any(stage.frozen or (opponents and (stage.update != "simultaneous" or len(stage.players) == 1)) for stage in stages)


def validate_strategy(strategy: Strategy, stages: Iterable[Stage], opponents: bool) -> None:
    """Let DDP look for unused parameters where the stages need it, and refuse a strategy under which training would go wrong.

    To be called before the strategy wraps the model. `_ddp_kwargs` is a private name of Lightning 2.6; the tests with two
    processes fail if it changes.

    Args:
        strategy: of the trainer.
        stages: of the run.
        opponents: whether there is a discriminator.

    Raises:
        UserError: says why, and what to use.
    """
    if isinstance(strategy, SingleDeviceStrategy):
        return
    if not isinstance(strategy, DDPStrategy) or isinstance(strategy, DeepSpeedStrategy):  # which says that it is a DDPStrategy
        raise UserError(
            f"{type(strategy).__name__} cannot train two players with an optimizer each (DeepSpeed takes one optimizer, FSDP "
            "merges parameters that are frozen and clipped apart); use --trainer.strategy ddp or auto"
        )
    if leaves_parameters_out(stages, opponents) and not strategy._ddp_kwargs.setdefault("find_unused_parameters", True):
        raise UserError(
            "this strategy expects a gradient for every parameter in each backward, which the stages do not give; use "
            "--trainer.strategy ddp or auto"
        )


def describe_strategy(processes: int, strategy: object, stages: Iterable[Stage], opponents: bool) -> str:
    """How the processes of a run train together, and why so, for people.

    Args:
        processes: of the run.
        strategy: the trainer's setting.
        stages: of the run.
        opponents: whether there is a discriminator.
    """
    if processes == 1:
        return "one device"
    name = "ddp" if strategy == "auto" else str(strategy)
    if leaves_parameters_out(stages, opponents):
        return f"{name}, looking for unused parameters: some backward leaves a player or a frozen part out"
    if "find_unused_parameters_true" in name:
        return f"{name}, as asked for"
    return f"{name}, plain: every backward reaches every parameter"


def no_sync(strategy: Strategy, hold: bool) -> AbstractContextManager[None]:
    """Within it, a backward adds to this process's own gradients; the next one outside it averages their sum over processes."""
    if hold and isinstance(strategy, ParallelStrategy):
        return cast(AbstractContextManager[None], strategy.block_backward_sync())
    return nullcontext()


def share_buffers_first(trainer: Trainer) -> None:
    """Let DDP give every process rank 0's buffers, such as the running statistics of batch norm, before the batch to come.

    It does so by itself, but not under Lightning's manual optimization. Without it buffers drift apart, and a stage that goes
    by running statistics would go by others on each process, and by others again after a run was resumed.
    """
    if isinstance(trainer.model, DistributedDataParallel):
        trainer.model.require_forward_param_sync = True  # until the forward is over


def share_buffers(trainer: Trainer, module: nn.Module) -> None:
    """Give every process rank 0's buffers now, so that all measure the same network.

    DDP could not do that batch by batch: processes may hold different numbers of them.
    """
    if trainer.world_size == 1:
        return
    for buffer in module.buffers():
        shared = buffer.contiguous()  # what is sent is memory, in whatever order it lies
        torch.distributed.broadcast(shared, src=0)
        if shared is not buffer:
            buffer.copy_(shared)


@contextmanager
def ending_together(trainer: Trainer, patience: float = 15) -> Iterator[None]:
    """When this process leaves by an exception, wait for those that Lightning started beside it, and end those that stay.

    After a signal or a mistake all processes leave with a status other than 0. Lightning's watch, which looks every five
    seconds, takes that for an accident and kills this process, whatever it was saying, saving or sending at that moment.

    Args:
        trainer: of the run.
        patience: seconds to wait.
    """
    try:
        yield
    except BaseException:
        watched = getattr(trainer.strategy.launcher, "procs", [])
        others = [process for process in watched if isinstance(process, subprocess.Popen)]
        watched[:] = []  # the very list that the watch looks at
        for process in others:
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
        raise
