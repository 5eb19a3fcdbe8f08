"""Run Python commands in forks of a process that has imported the package.

The imports take several seconds of each new interpreter. A fork of multiprocessing's fork server has them, and otherwise starts
as a new interpreter does: with its own arguments, environment, working directory, output, session and exit status.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PRELOADED = (
    "lit_inpaint.fit",
    "lit_inpaint.callbacks",
    "lit_inpaint.runs.final_evaluation",
    "lit_inpaint.papers",
    "torch._dynamo",
)


@dataclass
class Forked:
    """A running command.

    Attributes:
        process: of the command; its own session and process group have the same number.
        stdout: file of its standard output.
        stderr: file of its standard error; may be the same.
    """

    process: BaseProcess
    stdout: Path
    stderr: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def kill_group(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to all processes of the command."""
        while self.process.is_alive():
            try:
                os.killpg(self.pid, number)
                return
            except ProcessLookupError:  # it has no group of its own yet
                time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, timeout: float = 300) -> int:
        """Wait until all processes of the command have ended; return its exit status.

        Raises:
            AssertionError: after `timeout` seconds, with the output; all processes are killed.
        """
        end = time.monotonic() + timeout
        self.process.join(timeout)
        while self.process.is_alive() or self._has_group():
            if time.monotonic() > end:
                self.kill_group()
                raise AssertionError(f"the command hangs:\n{self.stdout.read_text()}\n{self.stderr.read_text()}")
            time.sleep(0.01)
        assert self.process.exitcode is not None
        return self.process.exitcode

    def _has_group(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True


def start(
    command: Sequence[str],
    stdout: Path,
    stderr: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    processes: int = 1,
) -> Forked:
    """Start `python *command`.

    Args:
        command: `-m`, a module and its arguments, or a script and its arguments.
        stdout: file to append the standard output to.
        stderr: file to append the standard error to; None: `stdout`.
        env: environment; None: that of this process.
        cwd: working directory; None: that of this process.
        processes: number of processes that the command starts through Lightning, including itself; they are forks too.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    files = stdout, stderr or stdout
    arguments = ([*map(str, command)], dict(os.environ if env is None else env), str(cwd or Path.cwd()), files, processes)
    process = context.Process(target=_run, args=arguments)
    process.start()
    return Forked(process, *files)


def run(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    processes: int = 1,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run `python *command` as `subprocess.run(…, capture_output=True, text=True)` does; see `start`."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "stdout", Path(folder) / "stderr"
        for file in files:
            file.touch()
        status = start(command, *files, env, cwd, processes).wait(timeout)
        return subprocess.CompletedProcess(list(command), status, *(file.read_text() for file in files))


def _run(command: list[str], env: dict[str, str], cwd: str, files: tuple[Path, Path], processes: int) -> None:
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # the default again: loaders start their processes as in any command
    for descriptor, file in enumerate(files, start=1):
        opened = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(cwd)
    if processes > 1:
        from lightning.pytorch.strategies.launchers import subprocess_script

        waiting = [_fork_waiting() for _ in range(processes - 1)]
        launched = iter(waiting)
        _Launched.fork = staticmethod(lambda *arguments: _wake(*next(launched), *arguments))
        setattr(subprocess_script, "subprocess", SimpleNamespace(Popen=_Launched))  # noqa: B010
    _become(command, env)


def _become(command: list[str], env: dict[str, str]) -> None:
    """Run `python *command` in this process."""
    import torch

    os.environ.clear()
    os.environ.update(env)
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", torch.get_num_threads())))  # it is read at the import
    sys.path[:0] = [str(Path.cwd()), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        if command[0] == "-m":
            sys.argv = command[1:]
            sys.modules.pop(command[1], None)
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(command)
            sys.path.insert(0, str(Path(command[0]).parent))
            runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing skips them


class _Launched(subprocess.Popen[bytes]):
    """A process of Lightning's launcher that is a waiting fork, not a new interpreter."""

    fork: Any

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:
        self.pid = self.fork([*args][1:], rest[5])  # the arguments of `Popen`'s own method, `env` among them
        self._child_created = True


def _fork_waiting() -> tuple[int, int]:
    """Fork a process that waits for a command; return its number and the pipe to send it through.

    It ends if this process ends first.
    """
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(reading)
        return child, writing
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    status = 0
    try:
        if content:
            _become(*pickle.loads(content))
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wake(child: int, pipe: int, command: list[str], env: Mapping[str, str] | None) -> int:
    with os.fdopen(pipe, "wb") as opened:
        opened.write(pickle.dumps((command, dict(os.environ if env is None else env))))
    return child
