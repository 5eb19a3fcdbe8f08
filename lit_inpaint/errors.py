"""Report a user's mistake in one line, and suggest names for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake: one line that names it and the remedy. Commands print the line and exit with status 2.

    PyTorch re-raises a loader worker's error with the worker's traceback as its message; only the last line is kept. Names of
    files may hold line breaks and control characters of terminals; these are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message.rsplit(f"{type(self).__name__}: ", 1)[-1]))


def one_line(text: str) -> str:
    """Join the lines of `text`, and write characters that cannot be printed as Python's escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in " ".join(text.split()))


def did_you_mean(name: str, known: Iterable[str], n: int = 1, cutoff: float = 0.6, show_all: bool = False) -> str:
    """Return a suggestion to append to a message about an unknown name.

    Args:
        name: the unknown name.
        known: all names that exist.
        n: maximum number of similar names.
        cutoff: minimum similarity in [0, 1], see `difflib.get_close_matches`.
        show_all: list all known names before the suggestion too.

    Returns:
        `; did you mean 'a' or 'b'?`; `; there are a, b, c` where no name is similar; empty where no name exists.
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=n, cutoff=cutoff)
    every = f"; there are {', '.join(names)}" if names and (show_all or not near) else ""
    return every + (f"; did you mean {' or '.join(repr(one) for one in near)}?" if near else "")
