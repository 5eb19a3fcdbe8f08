"""Run directories in a given state, without training."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lit_inpaint.runs.run_dir import RunDir

CONFIG: dict[str, Any] = {
    "experiment": "demo",
    "seed": 0,
    "model": {"class_path": "Net", "init_args": {"blocks": 1}},
    "data": {"class_path": "Data", "init_args": {"size": 64, "root": "a", "workers": 0}},
    "trainer": {"max_steps": 8, "max_epochs": None, "max_time": None, "devices": "auto"},
    "ema": None,
}
OTHER = {**CONFIG, "model": {"class_path": "Net", "init_args": {"blocks": 4}}}


def make_run_dir(path: Path, state: str) -> None:
    """Create a run directory in a given state."""
    if state == "nothing":
        return
    run = RunDir(path)
    run.open(yaml.safe_dump(OTHER if state == "other settings" else CONFIG))
    if state != "only started":
        run.checkpoints.mkdir()
        run.last.write_bytes(b"checkpoint")
    if state == "finished":
        run.finish(8)
    run.unlock()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the directory in another process."""
    code = (
        f"import fcntl, sys; f = open({str(path / '.lock')!r}, 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()
