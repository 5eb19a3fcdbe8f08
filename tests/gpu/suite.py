"""Run the test suite: layers, losses and metrics with tensors on the GPU, then everything on the CPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from measure import Setup

ON_DEVICE = ("tests/nets", "tests/losses", "tests/metrics", "tests/engine/test_any_size.py")
"""Tests of pure functions and layers, most of which do not care where new tensors are created."""


def pytest(setup: Setup, seconds: float, *arguments: str, **environment: str) -> dict[str, Any]:
    """Run pytest in parallel for at most `seconds`; return its counts and the first lines of its failures."""
    log = setup.output / f"pytest_{environment.get('LIT_INPAINT_TEST_DEVICE', 'cpu')}.txt"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(setup.workers), "--dist", "loadgroup"]
    with log.open("w") as file:
        try:
            subprocess.run(
                [*command, "--tb=line", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            file.write("\nstopped: out of time\n")
    text = log.read_text()
    failed = re.findall(r"^(?:FAILED|ERROR) .*$", text, re.MULTILINE)
    return {"summary": text.strip().splitlines()[-1:], "failed": failed[:80]}


def on_device(setup: Setup, seconds: float) -> dict[str, Any]:
    """Run tests of layers, losses and metrics with the GPU as the default device of new tensors, for at most `seconds`."""
    arguments = ("-p", "default_device", *ON_DEVICE)
    path = os.pathsep.join(["tests/gpu", os.environ.get("PYTHONPATH", "")])
    return pytest(setup, min(100, seconds), *arguments, LIT_INPAINT_TEST_DEVICE=setup.device, PYTHONPATH=path)


def on_cpu(setup: Setup, seconds: float) -> dict[str, Any]:
    """Run the whole suite on the CPU for at most `seconds`."""
    return pytest(setup, seconds, "tests", CUDA_VISIBLE_DEVICES="")
