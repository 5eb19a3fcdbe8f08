"""A run that a signal stops saves, exits and resumes to the result of an uninterrupted run; so does a killed one."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
from fake_slurm import fake_scontrol, in_job
from tiny_runs import SMALL, TINY, assert_same_run, at, content, run_small, signalling, steps_logged

from lit_inpaint.callbacks import RunCheckpoint
from lit_inpaint.cluster import signal_handlers
from lit_inpaint.data import InpaintingData
from lit_inpaint.runs import final_evaluation
from lit_inpaint.runs.checkpoint_file import load, read_checkpoint

LONG = ["--trainer.max_steps", "24", "--trainer.val_check_interval", "8", "--checkpoint_every", "5"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert run_small(folder) == 0
    return folder


@pytest.mark.parametrize(
    ("number", "step", "hook", "saved"),
    [
        pytest.param(signal.SIGINT, 5, "on_train_batch_start", 6, id="SIGINT at an epoch's end"),
        pytest.param(signal.SIGTERM, 3, "training_step", 4, id="SIGTERM in a batch before a validation"),
        pytest.param(signal.SIGINT, 4, "validation_step", 4, id="SIGINT in a validation"),
        pytest.param(signal.SIGTERM, 8, "validation_step", 8, id="SIGTERM in the last validation"),
        pytest.param(signal.SIGTERM, 0, "configure_optimizers", 1, id="SIGTERM before the first batch"),
    ],
)
def test_a_signal_saves_and_exits(
    number: signal.Signals,
    step: int,
    hook: str,
    saved: int,
    uninterrupted: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "run"
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with at(step, hook, signalling(number)), pytest.raises(SystemExit) as exit_, caplog.at_level("INFO"):
        run_small(folder)
    assert exit_.value.code == 128 + number
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert content(folder)["global_step"] == saved
    assert f"{number.name}: saved {folder / 'checkpoints' / 'last.ckpt'} at step {saved}" in caplog.text
    assert run_small(folder) == 0
    assert_same_run(folder, uninterrupted)


@pytest.mark.parametrize(
    ("number", "step", "hook", "saved"),
    [
        pytest.param(signal.SIGUSR1, 2, "training_step", 3, id="SIGUSR1 in a batch"),
        pytest.param(signal.SIGUSR1, 4, "validation_step", 4, id="SIGUSR1 in a validation"),
        pytest.param(signal.SIGTERM, 5, "training_step", 6, id="preempted"),
    ],
)
def test_a_job_is_requeued_and_resumes(
    number: signal.Signals,
    step: int,
    hook: str,
    saved: int,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = fake_scontrol(tmp_path / "bin")
    in_job(monkeypatch, tmp_path / "bin")
    folder = tmp_path / "run"
    with at(step, hook, signalling(number)), pytest.raises(SystemExit) as exit_:
        run_small(folder)
    assert exit_.value.code == 128 + number
    assert content(folder)["global_step"] == saved
    assert calls.read_text().splitlines() == ["show job --oneliner 17", "requeue 17"]
    assert capsys.readouterr().out.endswith("job 17 is requeued and resumes when SLURM starts it again\n")
    in_job(monkeypatch, tmp_path / "bin", restarts=1)
    assert run_small(folder) == 0
    assert "SLURM job   17, start 2 (requeued 1 time)" in capsys.readouterr().out
    assert len(calls.read_text().splitlines()) == 2
    assert_same_run(folder, uninterrupted)


def test_a_job_whose_final_evaluation_takes_too_long_is_requeued_for_it(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_scontrol(tmp_path / "bin")
    in_job(monkeypatch, tmp_path / "bin")
    folder = tmp_path / "run"
    with monkeypatch.context() as slow:
        slow.setattr(signal_handlers, "GRACE_S", -1.0)
        slow.setattr(final_evaluation, "load", lambda path: (os.kill(os.getpid(), signal.SIGUSR1), load(path))[1])
        with pytest.raises(SystemExit) as exit_:
            run_small(folder)
    assert exit_.value.code == 128 + signal.SIGUSR1
    assert calls.read_text().splitlines()[-1] == "requeue 17"
    assert not (folder / "final_evaluation.json").exists()
    in_job(monkeypatch, tmp_path / "bin", restarts=1)
    assert run_small(folder) == 0
    assert_same_run(folder, uninterrupted)


def test_a_cancelled_job_is_not_requeued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake_scontrol(tmp_path / "bin", state="CANCELLED")
    in_job(monkeypatch, tmp_path / "bin")
    with at(1, "training_step", signalling(signal.SIGTERM)), pytest.raises(SystemExit) as exit_:
        run_small(tmp_path / "run")
    assert exit_.value.code == 128 + signal.SIGTERM
    assert "requeue 17" not in calls.read_text()
    assert "job 17 is not requeued: it is CANCELLED" in capsys.readouterr().out
    assert content(tmp_path / "run")["global_step"] == 2


def test_a_signal_while_the_data_is_listed_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_scontrol(tmp_path / "bin")
    in_job(monkeypatch, tmp_path / "bin")
    original = InpaintingData.prepare_data

    def signaled(self: InpaintingData) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        original(self)

    monkeypatch.setattr(InpaintingData, "prepare_data", signaled)
    with pytest.raises(SystemExit) as exit_:
        run_small(tmp_path / "run")
    assert exit_.value.code == 128 + signal.SIGUSR1
    assert content(tmp_path / "run")["global_step"] == 1
    assert "requeue 17" in calls.read_text()


@pytest.mark.parametrize("when", ["after the last validation", "during the final evaluation"])
def test_a_run_that_is_about_to_end_is_completed(
    when: str, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_scontrol(tmp_path / "bin")
    in_job(monkeypatch, tmp_path / "bin")
    owner, name = (
        (RunCheckpoint, "on_validation_end")
        if when == "after the last validation"
        else (final_evaluation, "describe_comparison")
    )
    original = getattr(owner, name)

    def signaled(*given: Any) -> Any:
        if name == "describe_comparison" or given[1].global_step == 8:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(*given)

    monkeypatch.setattr(owner, name, signaled)
    assert run_small(tmp_path / "run") == 0
    assert not calls.read_text()
    assert_same_run(tmp_path / "run", uninterrupted)


def start(folder: Path, *options: str) -> forked.Forked:
    log = folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    return forked.start(["-m", "lit_inpaint.fit", *TINY, *SMALL, "--run_dir", str(folder), *options], log)


def wait_for(folder: Path, ready: Callable[[], bool], run: forked.Forked) -> None:
    for _ in range(5000):
        if ready() or not run.process.is_alive():
            return
        time.sleep(0.02)
    raise AssertionError(f"no progress in {folder}")


def test_sigkill_at_any_moment_and_sigterm_to_the_whole_group(tmp_path: Path) -> None:
    """The group includes the loader's workers, as with Ctrl-C in a terminal or under SLURM."""
    assert run_small(tmp_path / "uninterrupted", *LONG) == 0
    folder = tmp_path / "run"
    for step, number in ((3, signal.SIGKILL), (8, signal.SIGTERM), (14, signal.SIGKILL), (18, signal.SIGINT)):
        started = start(folder, *LONG, "--data.workers", "2")
        wait_for(folder, lambda step=step: steps_logged(folder) >= step, started)
        started.kill_group(number)
        status = started.wait(60)
        printed = started.stdout.read_text()
        if number is signal.SIGKILL:
            assert status == -number, printed
        else:
            assert status == 128 + number, printed
            assert f"{number.name}: saved {folder / 'checkpoints' / 'last.ckpt'}" in printed
            assert "Traceback" not in printed
        if (folder / "checkpoints" / "last.ckpt").exists():
            read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert run_small(folder, *LONG) == 0
    assert_same_run(folder, tmp_path / "uninterrupted")
