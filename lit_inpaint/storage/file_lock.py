"""Exclusive locks on files; the kernel releases them when the process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def lock_file(file: IO[Any]) -> bool:
    """Take an exclusive lock on an open, writable file; it lasts until the file is closed.

    Uses `lockf`: unlike `flock`, forked loader workers do not inherit it.

    Returns:
        False on a file system without locks (Lustre, some NFS mounts).

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: any other failure.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # POSIX allows either
        raise BlockingIOError(*error.args) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        return False
    return True


@contextlib.contextmanager
def first_or_wait(path: Path) -> Iterator[bool]:
    """Let one of several processes do a piece of work while the others wait for it.

    Args:
        path: the lock file, on a local file system; removed at the end.

    Yields:
        True for the first process, and where the lock file cannot be opened. False for the others, after the first has left.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("a"))
        except OSError:
            yield True
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            fcntl.flock(file, fcntl.LOCK_EX)
            fcntl.flock(file, fcntl.LOCK_UN)
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)
