"""Entry point of all commands: exit status, one-line errors, filtered library warnings, memory allocator."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from lit_inpaint.errors import UserError, one_line

_BROKEN_PIPE = 128 + 13
_FREE = "free some space, then repeat the command"
_ELSEWHERE = "name another path"
_SYSTEM_ERRORS = {
    errno.ENOSPC: ("no space left on the disk", _FREE),
    errno.EDQUOT: ("no space left on the disk", _FREE),
    errno.EFBIG: ("a file may not grow that large", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "write elsewhere"),
    errno.EACCES: ("permission denied", f"change the permissions (chmod), or {_ELSEWHERE}"),
    errno.ENAMETOOLONG: ("the name is too long", _ELSEWHERE),
    errno.ELOOP: ("its links lead in a circle", _ELSEWHERE),
}
"""Errors of the file system that are no fault of the program: what is wrong, and the remedy."""


def run_command(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a command's `main` and exit.

    The status is 2, with one line, for a user's mistake, a refusal of the file system, or too little memory. It is 130 after
    Ctrl-C, and 141 where the program that reads the output has ended, such as `head`. Characters that the terminal's encoding
    does not have are printed as escapes.
    """
    for text in ("Image size .* could be decompression bomb", "Detected pickle protocol"):  # such files are read, or refused
        warnings.filterwarnings("ignore", message=text)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main(sys.argv[1:]) or 0
        sys.stdout.flush()
        sys.exit(status)
    except UserError as mistake:
        sys.exit(_print_error(str(mistake)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        sys.exit(_BROKEN_PIPE)
    except OSError as error:
        where = error.filename2 or error.filename
        if error.errno not in _SYSTEM_ERRORS or (error.errno == errno.EACCES and where is None):
            raise
        problem, remedy = _SYSTEM_ERRORS[error.errno]
        sys.exit(_print_error(f"{problem}{f' for {where}' if where else ''}; {remedy}"))
    except MemoryError as error:
        reason = f" ({text})" if (text := str(error)) else ""
        sys.exit(_print_error(f"not enough memory{reason}; use smaller images, batches or networks"))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


def _print_error(message: str) -> int:
    print(f"error: {one_line(message)}", file=sys.stderr)
    return 2


def silence_warnings() -> None:
    """Filter library warnings that users cannot act on; print a `UserWarning` as one line."""
    import logging

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for text in (
        ".*does not have many workers.*",
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*dataloader is not resumable.*",  # InfiniteSampler resumes at the right sample
        ".*smaller than the logging interval.*",
        ".*sync_dist=True.*when logging on epoch level.*",  # the logged means already cover all processes
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*Found .* module\\(s\\) in eval mode.*",
        ".*`srun` command is available.*",  # cluster/launch_info.py checks the launcher
    ):
        warnings.filterwarnings("ignore", message=text)

    def is_relevant(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        launch = ("Initializing distributed", "-" * 80, "distributed_backend", "All distributed processes")
        repeated = ("Restoring states from the checkpoint", "Restored all states", *launch)  # `fit` prints both itself
        return not line.startswith(
            ("💡", "GPU available: False", "TPU available", "HPU available", "`Trainer.fit` stopped", *repeated)
        )

    modules = ("utilities.rank_zero", "utilities.distributed")
    loggers = [f"lightning.{part}.{name}" for part in ("pytorch", "fabric") for name in modules]
    for name in (*loggers, "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).addFilter(is_relevant)

    with_location = warnings.formatwarning

    def without_location(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        """Leave out the code location for warnings meant for users."""
        return (
            f"warning: {one_line(str(message))}\n"
            if category is UserWarning
            else with_location(message, category, filename, lineno, line)
        )

    warnings.formatwarning = without_location


def tune_malloc() -> None:
    """Make glibc keep freed memory for reuse (Linux only).

    Otherwise large activations are mapped and page-faulted again at every step. Keeping them made an adversarial step of
    LPI-Net 1.11 times as fast with NCHW weights and 1.20 times with channels-last weights (two cores, batch 16, 64x64,
    `tests/benchmarks/memory_layout.py`).
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 256 * 2**20)
