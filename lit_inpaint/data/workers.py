"""How many processes and threads may work on data."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Number of CPU cores that this process may use, which a job or container can limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
