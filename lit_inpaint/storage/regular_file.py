"""Open and read files, within a limit: no devices, pipes or files of unexpected size."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path


def open_regular_file(path: str | Path, max_bytes: int) -> io.FileIO:
    """Open a file for reading, without a buffer.

    Args:
        path: of the file; links are followed.
        max_bytes: the largest accepted size.

    Raises:
        OSError: the file cannot be opened, is no regular file (reading a pipe or a device may never end), or is larger.
    """
    # Opening a pipe would wait for a writer; O_NONBLOCK changes nothing for regular files.
    file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    status = os.fstat(file.fileno())
    try:
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        if status.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"{status.st_size:,} bytes, more than {max_bytes:,}", os.fspath(path))
    except OSError:
        file.close()
        raise
    return file


def read_regular_file(path: str | Path, max_bytes: int) -> bytes:
    """Read a file completely; see `open_regular_file`."""
    with open_regular_file(path, max_bytes) as file:
        return file.readall()
