"""Cached file lists: arrays that take long to collect (paths, sizes, archive members), kept while the files stay unchanged."""

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

T = TypeVar("T")
_MIN_AGE_S = 2.0
"""Seconds: a file or folder changed more recently may change again without a new modification time."""


class FileIndex:
    """Arrays in one `.npz` file of the cache directory, valid while the files and folders they describe do not change.

    Args:
        key: what was collected and where; each key has its own file.
    """

    def __init__(self, key: str | bytes) -> None:
        digest = hashlib.sha256(os.fsencode(key)).hexdigest()
        self.path = cache_dir() / "file_index" / f"{digest[:32]}.npz"
        self._created = time.time()
        # In the machine's temporary folder: over a network, locks are slow or missing.
        self._lock = Path(tempfile.gettempdir(), f"lit_inpaint-{os.getuid()}-{self.path.stem}.lock")

    def load_or_build(self, restore: Callable[[Mapping[str, NDArray[Any]]], T | None], build: Callable[[], T]) -> T:
        """Return the cached result if it is still valid, else the result of `build`, which may call `save`.

        When several processes of a machine call this at the same moment, one builds and the others wait. They build as well
        only if nothing valid was saved.

        Args:
            restore: makes the result from the cached arrays; returns None if they are outdated.
            build: collects the result anew.
        """
        if (result := self._restored(restore)) is not None:
            return result
        with first_or_wait(self._lock) as first:
            if not first and (result := self._restored(restore)) is not None:
                return result
            return build()

    def _restored(self, restore: Callable[[Mapping[str, NDArray[Any]]], T | None]) -> T | None:
        arrays = self.load()
        return None if arrays is None else restore(arrays)

    def load(self) -> Mapping[str, NDArray[Any]] | None:
        """Return the cached arrays, or None if there are none or the file is damaged."""
        try:
            with np.load(self.path, allow_pickle=False) as content:
                return dict(content)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, last_change: float, **arrays: NDArray[Any]) -> None:
        """Save `arrays` atomically. A cache that cannot be written costs time and nothing else.

        Args:
            last_change: latest modification time of the described files and folders, in seconds. Nothing is saved if it is less
                than two seconds before this object was created.
            arrays: without Python objects.
        """
        if last_change > self._created - _MIN_AGE_S:
            return
        with contextlib.suppress(OSError), atomic_write(self.path, shared=True) as part, part.open("wb") as file:
            cast(Any, np).savez(file, **arrays)


def join_names(names: list[str]) -> NDArray[np.uint8]:
    """Return the bytes of all names as an array, with a zero byte between two names."""
    return np.frombuffer(os.fsencode("\0".join(names)), np.uint8)
