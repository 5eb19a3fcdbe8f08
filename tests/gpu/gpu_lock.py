"""Let one of several processes at a time use the GPU where time is measured."""

from __future__ import annotations

import fcntl
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO


@dataclass
class GPULock:
    """A lock on a file, which ends with the process that holds it.

    Attributes:
        path: the file.
        limit: seconds after which a holder gets a TimeoutError.
        held_seconds: how long this process has held the lock so far.
    """

    path: Path
    limit: float = 40
    held_seconds: float = 0.0
    _file: IO[str] | None = field(default=None, repr=False)
    _since: float = 0.0

    def acquire(self) -> None:
        """Wait for the lock; nothing happens if this process has it."""
        if self._file is not None:
            return
        file = self.path.open("a")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file, self._since = file, time.monotonic()
        signal.signal(signal.SIGALRM, self._stop)
        signal.setitimer(signal.ITIMER_REAL, self.limit)

    def release(self) -> None:
        """Give the lock back; nothing happens if this process does not have it."""
        if self._file is None:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._file.close()
        self._file = None
        self.held_seconds += time.monotonic() - self._since

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock in a block."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {self.limit:.0f} s on the GPU")
