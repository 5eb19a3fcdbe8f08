import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_runs import run

from lit_inpaint import prepare
from lit_inpaint.cluster import signal_handlers
from lit_inpaint.cluster.signal_handlers import GracefulExit, Signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_signals_are_recorded_and_handlers_restored() -> None:
    signals = Signals()
    watched = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in watched]
    with signals.handling(signal.SIGUSR1):
        with signals.handling(signal.SIGTERM, signal.SIGUSR1):
            for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1):
                send(number)  # a repeat at once is the same request: torchrun forwards what SLURM sends to all
        assert signal.getsignal(signal.SIGTERM) == before[1]
        send(signal.SIGUSR1)  # the outer handler is still installed
    assert signals.received == signal.SIGUSR1
    assert [signal.getsignal(number) for number in watched] == before


@pytest.mark.parametrize(("number", "status"), [("SIGTERM", -signal.SIGTERM), ("SIGUSR1", 3)])
def test_a_second_signal_after_a_pause_ends_the_process(number: str, status: int) -> None:
    """SIGUSR1 does not: no user sends it by hand."""
    code = (
        "import os, signal, sys, time; from lit_inpaint.cluster import signal_handlers; signal_handlers.REPEAT_S = 0.05\n"
        f"with signal_handlers.Signals().handling(signal.{number}):\n"
        f"    os.kill(os.getpid(), signal.{number}); time.sleep(0.1); os.kill(os.getpid(), signal.{number}); sys.exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == status


def test_the_exit_status_after_a_signal() -> None:
    assert signal_handlers.GracefulExit(signal.SIGUSR1).code == 138


def test_the_deadline_is_half_a_minute_after_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = Signals()
    signals.check_deadline()
    with signals.handling(signal.SIGUSR1):
        os.kill(os.getpid(), signal.SIGUSR1)
        signals.check_deadline()
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 31)
        with pytest.raises(GracefulExit) as exit_:
            signals.check_deadline()
    assert (exit_.value.number, exit_.value.complete) == (signal.SIGUSR1, False)


def test_fit_and_prepare_outside_the_main_thread(tmp_path: Path) -> None:
    """Python installs signal handlers in the main thread only."""
    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as threads:
        one_step = ("--trainer.max_steps", "1", "--data.workers", "0")
        assert threads.submit(run, tmp_path / "run", *one_step).result() == 0
        checked = ["--data", "DemoPhotos", "--check_only", "--workers", "0"]
        assert threads.submit(prepare.main, checked).result() == 0
    assert signal.getsignal(signal.SIGTERM) is before
