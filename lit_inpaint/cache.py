"""The folder for what can be had again: network weights, lists of files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

_SETTLED = 2.0  # seconds: what changed in this moment may change again without its time changing


def cache_folder() -> Path:
    """`$LIT_INPAINT_CACHE`, or `~/.cache/lit_inpaint` where that is not set; need not exist."""
    named = os.environ.get("LIT_INPAINT_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "lit_inpaint"


class Kept:
    """Arrays that took long to find, kept in the cache as long as the files and folders they stand for do not change.

    Args:
        about: what was looked for and where; tells these arrays from all others.
    """

    def __init__(self, about: str | bytes) -> None:
        digest = hashlib.sha256(os.fsencode(about)).hexdigest()
        self.path = cache_folder() / "lists" / f"{digest[:32]}.npz"
        self._begun = time.time()

    def read(self) -> Mapping[str, NDArray[Any]] | None:
        """What was kept; None where there is nothing, or it is not whole."""
        try:
            with np.load(self.path, allow_pickle=False) as content:
                return dict(content)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, changed: float, **arrays: NDArray[Any]) -> None:
        """Keep `arrays`; a cache that cannot be written costs time, nothing else.

        Args:
            changed: when the latest change happened to what they stand for, in seconds. If that was in the moment before this
                object was made, nothing is kept.
            arrays: without Python objects.
        """
        if changed > self._begun - _SETTLED:
            return
        part = self.path.with_suffix(f".{os.getpid()}.part")
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("wb") as file:
                    cast(Any, np).savez(file, **arrays)
                part.replace(self.path)
            finally:
                part.unlink(missing_ok=True)


def joined(names: list[str]) -> NDArray[np.uint8]:
    """Names as an array: their letters, with zeros between them."""
    return np.frombuffer(os.fsencode("\0".join(names)), np.uint8)
