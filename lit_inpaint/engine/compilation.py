"""Compile a paper's networks with `torch.compile` for training, or end with one line where that fails.

Networks are compiled in place, so names of weights, checkpoints and EMA stay as they are, and a run may resume compiled or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lit_inpaint.errors import UserError

_REMEDY = "use --model.training.compile false"


def compile_networks(networks: Iterable[nn.Module], device: torch.device) -> None:
    """Compile networks in place; the compilation itself happens in their first forward.

    Args:
        networks: modules that are called, not only their methods.
        device: on which they run.

    Raises:
        UserError: `torch.compile` does not work for this device, for example because there is no C++ compiler.
    """
    try:
        torch.compile(_probe)(torch.ones(2, device=device))
    except Exception as error:  # of compilers, linkers and Triton, which have no class in common
        raise UserError(
            f"--model.training.compile true: torch.compile does not work here ({_first_line(error)}); it needs "
            f"{'Triton' if device.type == 'cuda' else 'g++'} and a C compiler; install them, or {_REMEDY}"
        ) from error
    for network in networks:
        network.compile()


def is_compiled(model: nn.Module) -> bool:
    """Return whether a submodule of `model` is compiled."""
    return any(module._compiled_call_impl is not None for module in model.modules())


def discard_compiled(model: nn.Module) -> None:
    """Let all submodules of `model` run without compiled code again."""
    for module in model.modules():
        module._compiled_call_impl = None


@contextmanager
def compile_errors(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Raise a `UserError` where `torch.compile` fails in the block.

    Args:
        model: the paper.
        enabled: whether its networks are compiled.
    """
    if not enabled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        raise UserError(
            f"torch.compile fails for the networks of {type(model).__name__} ({_first_line(error)}); {_REMEDY}"
        ) from error


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])  # the cause is in the second line
    return f"{type(error).__name__}: {told[:200]}" if told else type(error).__name__
