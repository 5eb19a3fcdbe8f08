import os
import signal
import subprocess
import sys
import time

import pytest

from lit_inpaint.cluster import signal_handlers
from lit_inpaint.cluster.signal_handlers import GracefulExit, Signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_signals_are_noted_and_given_back() -> None:
    found = Signals()
    watched = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in watched]
    with found.handling(signal.SIGUSR1):
        with found.handling(signal.SIGTERM, signal.SIGUSR1):
            for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1):
                send(number)  # again at once is the same request: torchrun hands on what SLURM has sent to all
        assert signal.getsignal(signal.SIGTERM) == before[1]
        send(signal.SIGUSR1)  # the outer one still listens
    assert found.received == signal.SIGUSR1
    assert [signal.getsignal(number) for number in watched] == before


@pytest.mark.parametrize(("number", "status"), [("SIGTERM", -signal.SIGTERM), ("SIGUSR1", 3)])
def test_a_late_second_one_means_now(number: str, status: int) -> None:
    """But for SIGUSR1, which nobody sends in impatience."""
    code = (
        "import os, signal, sys, time; from lit_inpaint.cluster import signal_handlers as signals; signals.REPEAT_S = 0.05\n"
        f"with signals.Signals().handling(signal.{number}):\n"
        f"    os.kill(os.getpid(), signal.{number}); time.sleep(0.1); os.kill(os.getpid(), signal.{number}); sys.exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == status


def test_the_status_of_a_run_that_leaves() -> None:
    assert signal_handlers.GracefulExit(signal.SIGUSR1).code == 138


def test_work_that_cannot_be_saved_gets_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Signals()
    noted.check_deadline()
    with noted.handling(signal.SIGUSR1):
        os.kill(os.getpid(), signal.SIGUSR1)
        noted.check_deadline()
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 31)
        with pytest.raises(GracefulExit) as left:
            noted.check_deadline()
    assert (left.value.number, left.value.complete) == (signal.SIGUSR1, False)
