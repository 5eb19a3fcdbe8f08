"""Limit the size of a network while it is built from settings of a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from lit_inpaint.errors import UserError


@contextmanager
def limit_parameters(max_values: int, max_parameters: int, settings: str) -> Iterator[None]:
    """Stop the construction of a network in this thread once its parameters have more values than expected.

    A setting such as a width of 100,000 in a damaged file would otherwise fill the memory. Parameters are registered before
    they are initialized, so their memory is reserved but not used.

    Args:
        max_values: maximum number of values in all parameters.
        max_parameters: maximum number of parameters, each the weights or the bias of a layer.
        settings: what determines the network, for messages.

    Raises:
        UserError: the network is larger.
    """
    thread, values, parameters = threading.get_ident(), 0, 0

    def check(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal values, parameters
        if parameter is None or threading.get_ident() != thread:
            return
        values, parameters = values + parameter.numel(), parameters + 1
        if values > max_values or parameters > max_parameters:
            raise UserError(f"{settings} describe a network of over {values:,} values, far more than its weights have")

    handle = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()
