"""Keeping weights still: the opponent's within one loss, parts of a network within one stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import nn

from lit_inpaint.errors import did_you_mean
from lit_inpaint.settings import Stage


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """Within it, what `module` computes depends on its weights as on constants: gradients pass through it, not into it."""
    stopped = _stop_learning([module] if module is not None else [])
    try:
        yield
    finally:
        for parameter in stopped:
            parameter.requires_grad_(True)


class ModuleFreezer:
    """Puts a stage's `frozen` and `eval_modules` parts to rest, and wakes those of the stage before.

    Args:
        root: module below which the names are looked up.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self._parameters: list[nn.Parameter] = []
        self._modules: list[nn.Module] = []

    def enter(self, stage: Stage) -> None:
        """Hold still what `stage` says, and only that.

        Raises:
            ValueError: a name that fits no module.
        """
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        for module in self._modules:
            module.train()
        still = find_modules(self.root, stage.frozen)
        self._parameters = _stop_learning(still)
        for parameter in self._parameters:
            parameter.grad = None  # or an optimizer would go on along the last gradient
        chosen = [*still, *find_modules(self.root, stage.eval_modules)]
        self._modules = [module for part in chosen for module in part.modules() if module.training]
        for module in self._modules:
            module.eval()


def find_modules(root: nn.Module, patterns: Iterable[str]) -> list[nn.Module]:
    """Modules below `root` whose names fit one of `patterns` (`*`: anything, dots included).

    Raises:
        ValueError: a pattern that fits nothing, naming the nearest name.
    """
    names = {name: module for name, module in root.named_modules() if name}
    found = []
    for pattern in patterns:
        fitting = [module for name, module in names.items() if fnmatchcase(name, pattern)]
        if not fitting:
            raise ValueError(f"no module is called {pattern!r}{did_you_mean(pattern, names, cutoff=0.0)}")
        found += fitting
    return found


def _stop_learning(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    stopped = []
    for module in modules:
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.requires_grad_(False)
                stopped.append(parameter)
    return stopped
