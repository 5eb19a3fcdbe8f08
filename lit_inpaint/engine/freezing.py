"""Freeze weights: the opponent's within one loss, named modules within one stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import nn

from lit_inpaint.errors import did_you_mean
from lit_inpaint.settings import Stage


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """Treat the weights of `module` as constants within the context: gradients pass through it, not into it."""
    disabled = _disable_gradients([module] if module is not None else [])
    try:
        yield
    finally:
        for parameter in disabled:
            parameter.requires_grad_(True)


class ModuleFreezer:
    """Freeze a stage's `frozen` modules, put its `eval_modules` in evaluation mode, and restore both afterwards.

    Args:
        root: module below which the names are looked up.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self._parameters: list[nn.Parameter] = []
        self._modules: list[nn.Module] = []

    def freeze(self, stage: Stage) -> None:
        """Freeze the modules of `stage`, after unfreezing those of the stage before.

        Raises:
            ValueError: a name matches no module.
        """
        self.unfreeze()
        modules = find_modules(self.root, stage.frozen)
        self._parameters = _disable_gradients(modules)
        for parameter in self._parameters:
            parameter.grad = None  # otherwise an optimizer would step along the last gradient
        chosen = [*modules, *find_modules(self.root, stage.eval_modules)]
        self._modules = [module for root in chosen for module in root.modules() if module.training]
        for module in self._modules:
            module.eval()

    def unfreeze(self) -> None:
        """Restore what `freeze` changed, and nothing else: a module that the paper itself keeps in evaluation mode stays so."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        for module in self._modules:
            module.training = True  # `train()` would also reach the modules below
        self._parameters, self._modules = [], []


def find_modules(root: nn.Module, patterns: Iterable[str]) -> list[nn.Module]:
    """Return the modules below `root` whose names match one of `patterns` (`*`: anything, dots included).

    Raises:
        ValueError: a pattern matches nothing; the message names the nearest name.
    """
    names = {name: module for name, module in root.named_modules() if name}
    found = []
    for pattern in patterns:
        matching = [module for name, module in names.items() if fnmatchcase(name, pattern)]
        if not matching:
            raise ValueError(f"no module is called {pattern!r}{did_you_mean(pattern, names, cutoff=0.0)}")
        found += matching
    return found


def _disable_gradients(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    disabled = []
    for module in modules:
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.requires_grad_(False)
                disabled.append(parameter)
    return disabled
