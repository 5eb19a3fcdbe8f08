"""The error that every command reports as one line."""

from __future__ import annotations


class UserError(Exception):
    """A user's mistake: one line that names it and the remedy. Commands print the line and exit with status 2.

    PyTorch re-raises a loader worker's error with the worker's traceback as its message; only the last line is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())
