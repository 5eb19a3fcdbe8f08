"""Decide which classes outside this package a checkpoint may name: only those of modules that the user named.

A checkpoint names its paper, its settings and its data by import path, and importing a module runs its code. Trusted are
`lit_inpaint` itself, the modules of the classes in an experiment that the user started, and those listed in the environment
variable `LIT_INPAINT_PAPERS` (import paths, separated by commas).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lit_inpaint.errors import UserError

VARIABLE = "LIT_INPAINT_PAPERS"
_named: set[str] = set()


def trust(settings: object) -> None:
    """Trust the modules of all classes that settings of the user name, until this process ends."""
    _named.update(name.rpartition(".")[0] for name in class_paths(settings))


def require_trusted(settings: object, path: str | Path) -> None:
    """Check all classes that a file names, before any is imported.

    Args:
        settings: plain data with `class_path` entries.
        path: the file, for messages.

    Raises:
        UserError: a class belongs to a module that is not trusted; names the class and how to trust it.
    """
    listed = {name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()}
    for name in class_paths(settings):
        module = name.rpartition(".")[0]
        ours = module == "lit_inpaint" or module.startswith("lit_inpaint.")
        # A name without a module is looked up among the classes that are imported already.
        if module and not ours and module not in _named and not any(f"{name}.".startswith(f"{one}.") for one in listed):
            raise UserError(
                f"{path} names {name}, which is not of lit_inpaint; nothing of it was imported. If you trust that code: "
                f"{VARIABLE}={module} before the command"
            )


def class_paths(settings: object) -> Iterator[str]:
    """Yield the import path of every class in plain data with `class_path` entries."""
    if isinstance(settings, dict):
        if "class_path" in settings:
            yield str(settings["class_path"])
        for value in settings.values():
            yield from class_paths(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from class_paths(value)
