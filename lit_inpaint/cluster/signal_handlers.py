"""Record stop signals at once; the code acts on them later, at a point where it can stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

REPEAT_S = 3.0
"""Seconds in which a repeated signal is the same request: SLURM signals every process, and torchrun forwards it."""

GRACE_S = 30.0
"""Seconds after a signal for work that cannot be saved half done, such as the final evaluation."""


class GracefulExit(SystemExit):
    """Raised where a run exits because of a signal; the exit status is 128 + its number.

    Args:
        number: signal number.
        complete: whether every step was trained, so that the run need not resume.
    """

    def __init__(self, number: int, complete: bool = False) -> None:
        super().__init__(128 + number)
        self.number = number
        self.complete = complete


class Signals:
    """Records which signal arrived. A second SIGTERM or SIGINT after `REPEAT_S` seconds ends the process at once.

    Outside the main thread, where Python installs no handlers, all handlers stay as they are.

    Attributes:
        received: the first signal that arrived, None before.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @contextmanager
    def handling(self, *numbers: int) -> Iterator[None]:
        """Record these signals inside the block and restore their handlers afterwards."""
        before = dict(self._before)
        self.install(*numbers)
        try:
            yield
        finally:
            for number in self._before.keys() - before.keys():
                signal.signal(number, self._before.pop(number))

    def check_deadline(self) -> None:
        """Exit if a signal arrived more than `GRACE_S` seconds ago.

        Raises:
            GracefulExit: the deadline has passed.
        """
        if self.received is not None and time.monotonic() - self._since > GRACE_S:
            raise GracefulExit(self.received)

    def install(self, *numbers: int) -> None:
        """Install the handler for these signals, also again after a library replaced it; `handling` restores the old ones."""
        for number in numbers:
            self._install(number, self._record)

    def _record(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._since = number, now
            self._install(signal.SIGCHLD, _ignore)  # torch would raise for an ended loader worker, in the middle of a step
        elif number != signal.SIGUSR1 and now - self._since > REPEAT_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _install(self, number: int, handler: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before.setdefault(number, signal.signal(number, handler))


def _ignore(number: int, frame: FrameType | None) -> None:
    """Ignore a signal; SIG_IGN would make the system reap ended children, whose parent waits for them."""
