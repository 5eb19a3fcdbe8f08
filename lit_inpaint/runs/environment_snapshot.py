"""What a run was made on: the machine, the versions, the state of the code."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def environment_info() -> dict[str, str | int | float]:
    """This host, as flat plain data for logs and dashboards; what cannot be found out is left out.

    Returns:
        `host`; `cpu` (model), `cores` (that this process may use), `memory_gib`; `gpus` (number), `gpu` (names, as `4 x NVIDIA
        H200`), `gpu_memory_gib` (of the first), `cuda`; `python`, `torch`, `lightning`, `lit_inpaint` (versions); `commit` and
        `modified` (1 if tracked files differ from it) where the package lies in a checkout.
    """
    import torch  # here, as the verbs read this module before they know whether they need torch

    found: dict[str, str | int | float] = {"host": socket.gethostname(), "cpu": _processor(), "cores": _cores()}
    if memory := _memory():
        found["memory_gib"] = round(memory / 2**30, 1)
    found["gpus"] = torch.cuda.device_count()
    if found["gpus"]:
        names = Counter(torch.cuda.get_device_name(number) for number in range(int(found["gpus"])))
        found["gpu"] = ", ".join(f"{count} x {name}" for name, count in names.items())
        found["gpu_memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
        found["cuda"] = str(torch.version.cuda or torch.version.hip)
    found["python"] = platform.python_version()
    found["torch"] = str(torch.__version__)
    for package in ("lightning", "lit_inpaint"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | code_state()


def code_state() -> dict[str, str | int]:
    """`commit` and `modified` (0 or 1) of the checkout that this package is tracked in; empty where there is none."""
    package = Path(__file__).resolve().parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:  # installed below some other project's checkout
        return {}
    commit, changes = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {}
    return {"commit": commit.strip(), "modified": int(bool(changes.strip()))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _memory() -> int | None:
    """Bytes of the machine, not of what a container or a job may take."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
