"""Running a verb as a process: its exit status, mistakes in one line, quiet libraries, memory."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from lit_inpaint.errors import UserError


def run_command(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a verb's `main` on the command line and exit: 2 and one line for a user's mistake or a full disk, 130 for Ctrl-C."""
    try:
        sys.exit(main(sys.argv[1:]) or 0)
    except UserError as mistake:
        sys.exit(_complain(str(mistake)))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename2 or error.filename
        sys.exit(_complain(f"no space left on the disk{f' for {where}' if where else ''}; free some, then repeat the command"))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def silence_warnings() -> None:
    """Hide what libraries say that no user of ours can act on; mistakes and our own lines stay."""
    import logging

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for text in (
        ".*does not have many workers.*",
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*dataloader is not resumable.*",  # ours starts at the right sample, see lit_inpaint.data.samplers
        ".*smaller than the logging interval.*",
        ".*sync_dist=True.*when logging on epoch level.*",  # our means are over all processes already
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*Found .* module\\(s\\) in eval mode.*",
        ".*`srun` command is available.*",  # whether it should have been used is for lit_inpaint.cluster.launch_info to say
    ):
        warnings.filterwarnings("ignore", message=text)

    def worth_reading(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        plan = ("Initializing distributed", "-" * 80, "distributed_backend", "All distributed processes")
        told = ("Restoring states from the checkpoint", "Restored all states", *plan)  # `fit` says both in its own words
        return not line.startswith(
            ("💡", "GPU available: False", "TPU available", "HPU available", "`Trainer.fit` stopped", *told)
        )

    ours = ("utilities.rank_zero", "utilities.distributed")
    below = [f"lightning.{part}.{name}" for part in ("pytorch", "fabric") for name in ours]
    for name in (*below, "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).addFilter(worth_reading)

    place = warnings.formatwarning

    def one_line(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
        """What a user is told needs no place in the code; what a programmer is told keeps it."""
        return f"warning: {message}\n" if category is UserWarning else place(message, category, filename, lineno, line)

    warnings.formatwarning = one_line


def tune_malloc() -> None:
    """Tell glibc to reuse freed memory instead of giving it back, on Linux; elsewhere nothing.

    Activations of tens of megabytes are otherwise mapped and page-faulted anew at every step. Keeping them made an adversarial
    step of LPI-Net 1.11 times as fast with NCHW weights and 1.20 times with channels-last ones, on two cores at batch 16, 64x64
    (`tests/benchmarks/memory_layout.py`).
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 256 * 2**20)
