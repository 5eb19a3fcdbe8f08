"""Signals that ask a process to stop: noted at once, acted on where nothing is half done."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SAME = 3.0
"""Seconds in which a signal that comes again is the same request: SLURM reaches every process, and torchrun hands it on."""


GRACE = 30.0
"""Seconds that work which cannot be saved half done, such as the closing table, gets after a signal."""


class GracefulExit(SystemExit):
    """Raised where a run leaves because of a signal; the exit status is 128 + its number.

    Args:
        number: of the signal.
        complete: every step was trained, so there is nothing to come back for.
    """

    def __init__(self, number: int, complete: bool = False) -> None:
        super().__init__(128 + number)
        self.number = number
        self.complete = complete


class Signals:
    """Notes which signal came. SIGTERM or SIGINT once more after `SAME` seconds means now.

    Attributes:
        received: the first signal that came, None before.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @contextmanager
    def handling(self, *numbers: int) -> Iterator[None]:
        """Within it these signals are noted; afterwards they do what they did before."""
        before = dict(self._before)
        self.listen(*numbers)
        try:
            yield
        finally:
            for number in self._before.keys() - before.keys():
                signal.signal(number, self._before.pop(number))

    def check_deadline(self) -> None:
        """Leave if a signal came and half a minute has passed since: what takes longer may not come to its end.

        Raises:
            Interrupted: so it is.
        """
        if self.received is not None and time.monotonic() - self._since > GRACE:
            raise GracefulExit(self.received)

    def listen(self, *numbers: int) -> None:
        """Take signals, also a second time where another library took them in between; `handling` gives them back."""
        for number in numbers:
            self._handle(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._since = number, now
            self._handle(signal.SIGCHLD, _nothing)  # torch would raise for an ended worker, in the middle of a step
        elif number != signal.SIGUSR1 and now - self._since > SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _handle(self, number: int, handler: Any) -> None:
        self._before.setdefault(number, signal.signal(number, handler))


def _nothing(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, which would have the system collect ended children, this leaves them to who waits for them."""
