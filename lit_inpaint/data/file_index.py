"""The folder for what can be had again: network weights, lists of files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from lit_inpaint.storage.atomic_write import atomic_write
from lit_inpaint.storage.cache_dir import cache_dir
from lit_inpaint.storage.file_lock import first_or_wait

Found = TypeVar("Found")
_SETTLED = 2.0  # seconds: what changed in this moment may change again without its time changing


class FileIndex:
    """Arrays that took long to find, kept in the cache as long as the files and folders they stand for do not change.

    Args:
        about: what was looked for and where; tells these arrays from all others.
    """

    def __init__(self, about: str | bytes) -> None:
        digest = hashlib.sha256(os.fsencode(about)).hexdigest()
        self.path = cache_dir() / "lists" / f"{digest[:32]}.npz"
        self._begun = time.time()
        # In the local temporary folder: over a network, locks are slow, or missing.
        self._lock = Path(tempfile.gettempdir(), f"lit_inpaint-{os.getuid()}-{self.path.stem}.lock")

    def find(self, sound: Callable[[Mapping[str, NDArray[Any]]], Found | None], make: Callable[[], Found]) -> Found:
        """What was kept, or else what `make` finds, which may keep it.

        Of the processes of a job that come here at the same moment, one on each machine looks; the others wait, and look for
        themselves only if nothing was kept then.

        Args:
            sound: makes the result of what was kept; None if it does not hold any more.
            make: finds it anew.
        """
        if (found := self._found(sound)) is not None:
            return found
        with first_or_wait(self._lock) as first:
            if not first and (found := self._found(sound)) is not None:
                return found
            return make()

    def _found(self, sound: Callable[[Mapping[str, NDArray[Any]]], Found | None]) -> Found | None:
        content = self.read()
        return None if content is None else sound(content)

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
        with contextlib.suppress(OSError), atomic_write(self.path, shared=True) as part, part.open("wb") as file:
            cast(Any, np).savez(file, **arrays)


def joined(names: list[str]) -> NDArray[np.uint8]:
    """Names as an array: their letters, with zeros between them."""
    return np.frombuffer(os.fsencode("\0".join(names)), np.uint8)
