"""Decide which classes outside this package a checkpoint may name: only those of modules that the user named.

A checkpoint names its paper, its settings and its data by import path, and importing a module runs its code. Trusted are
`lit_inpaint` itself, the modules of the classes in an experiment that the user started, and those listed in the environment
variable `LIT_INPAINT_PAPERS` (import paths, separated by commas).
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

from lit_inpaint.errors import UserError

VARIABLE = "LIT_INPAINT_PAPERS"
_ACTIVE_MODULES = {"antigravity", "idlelib", "test", "this", "turtledemo"}
"""Modules of the standard library whose import does something."""
_named: set[str] = set()


class UntrustedClassError(UserError):
    """A file names a class of a module that is not trusted."""


def trust(settings: object) -> None:
    """Trust the modules of all classes that settings of the user name, until this process ends."""
    _named.update(name.rpartition(".")[0] for name in class_paths(settings))


def require_trusted(settings: object, path: str | Path) -> None:
    """Check all classes that a file names, before any is imported.

    Args:
        settings: plain data with `class_path` entries.
        path: the file, for messages.

    Raises:
        UntrustedClassError: a class belongs to a module that is not trusted; names the class and how to trust it.
    """
    listed = {name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()}
    for name in class_paths(settings):
        module = name.rpartition(".")[0]
        ours = module == "lit_inpaint" or module.startswith("lit_inpaint.")
        # A name without a module is looked up among the classes that are imported already.
        if module and not ours and module not in _named and not any(f"{name}.".startswith(f"{one}.") for one in listed):
            raise _not_trusted(path, name, module)


@contextmanager
def only_trusted_imports(settings: object, path: str | Path) -> Iterator[None]:
    """Block imports in this thread of modules that are not imported already, while the settings in a file are parsed.

    Where a class is expected, jsonargparse also takes a text with an import path, or with the name of a YAML file that holds
    one; `require_trusted` does not recognize these. The modules that it has allowed are imported first.

    Args:
        settings: checked by `require_trusted`.
        path: the file, for messages.

    Raises:
        UntrustedClassError: such a module was named and the parsing failed.
    """
    for name in class_paths(settings):
        with suppress(ImportError, ValueError):  # the parsing reports a wrong name
            importlib.import_module(name.rpartition(".")[0])
    guard = _ImportGuard(threading.get_ident())
    sys.meta_path.insert(0, guard)
    try:
        yield
    except Exception:
        if guard.blocked:
            raise _not_trusted(path, guard.blocked[0], guard.blocked[0]) from None
        raise
    finally:
        sys.meta_path.remove(guard)


class _ImportGuard(MetaPathFinder):
    """Finder that fails for modules outside this package, the standard library and packages that are imported already."""

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.blocked: list[str] = []

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raise ModuleNotFoundError for a blocked module; leave the others to the next finder."""
        package = fullname.partition(".")[0]
        known = package in sys.modules or package == "lit_inpaint" or package in sys.stdlib_module_names - _ACTIVE_MODULES
        if threading.get_ident() == self.thread and not known:
            self.blocked.append(fullname)
            raise ModuleNotFoundError(f"{fullname} is not trusted", name=fullname)


def _not_trusted(path: str | Path, name: str, module: str) -> UntrustedClassError:
    return UntrustedClassError(
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
