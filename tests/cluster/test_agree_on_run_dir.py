import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lit_inpaint.cluster import agree_on_run_dir
from lit_inpaint.cluster.agree_on_run_dir import broadcast_run_dir, cleanup, should_print
from lit_inpaint.cluster.launch_info import LaunchInfo
from lit_inpaint.errors import UserError


def in_threads(work: Callable[[LaunchInfo], Any], launches: list[LaunchInfo]) -> list[Any]:
    """Run `work` in threads that stand for processes; return their results or exceptions, in order."""
    results: list[Any] = [None] * len(launches)

    def run(number: int) -> None:
        try:
            results[number] = work(launches[number])
        except (UserError, SystemExit) as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in reversed(range(len(launches)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def tasks(count: int = 3, key: str = "17-0") -> list[LaunchInfo]:
    return [LaunchInfo("srun", rank, rank, count, 1, key) for rank in range(count)]


def test_all_srun_tasks_use_the_choice_of_rank_0(tmp_path: Path) -> None:
    chosen = iter([(tmp_path / "runs" / "first", True)])  # a second choice would be an error
    (tmp_path / "runs").mkdir()
    found = in_threads(lambda launch: broadcast_run_dir(launch, tmp_path / "runs" / "demo", lambda: next(chosen)), tasks())
    assert found == [(tmp_path / "runs" / "first", True)] * 3
    cleanup(tasks()[1], tmp_path / "runs" / "demo")
    assert list((tmp_path / "runs").iterdir())  # rank 0 deletes the file
    cleanup(tasks()[0], tmp_path / "runs" / "demo")
    assert not list((tmp_path / "runs").iterdir())


def test_an_error_on_rank_0_ends_the_others_without_a_message(tmp_path: Path) -> None:
    def fail() -> tuple[Path, bool]:
        raise UserError("no")

    first, *others = in_threads(lambda launch: broadcast_run_dir(launch, tmp_path / "run", fail), tasks())
    assert str(first) == "no"
    assert [(type(other), other.code) for other in others] == [(SystemExit, 2)] * 2
    assert not list(tmp_path.iterdir())


def test_rank_0_of_a_complete_run_waits_until_the_slowest_rank_has_read_the_choice(tmp_path: Path) -> None:
    def work(launch: LaunchInfo) -> tuple[Path, bool]:
        time.sleep(1.5 if launch.rank == 2 else 0)
        found = broadcast_run_dir(launch, tmp_path / "run", lambda: (tmp_path / "run", True))
        cleanup(launch, tmp_path / "run")
        return found

    assert in_threads(work, tasks()) == [(tmp_path / "run", True)] * 3
    assert not list(tmp_path.iterdir())


def test_rank_0_with_an_error_waits_too(tmp_path: Path) -> None:
    def fail() -> tuple[Path, bool]:
        raise UserError("no")

    def work(launch: LaunchInfo) -> tuple[Path, bool]:
        time.sleep(3 if launch.rank == 2 else 0)
        return broadcast_run_dir(launch, tmp_path / "run", fail)

    assert [type(found) for found in in_threads(work, tasks())] == [UserError, SystemExit, SystemExit]
    assert not list(tmp_path.iterdir())


def test_a_node_that_does_not_see_the_directory_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another launch of the job does not count."""
    monkeypatch.setattr(agree_on_run_dir, "TIMEOUT_S", 0.3)
    broadcast_run_dir(tasks(key="17-1")[0], tmp_path / "run", lambda: (tmp_path / "run", False))
    with pytest.raises(UserError, match=rf"^{socket.gethostname()} \(process 1\) did not receive .*--run_dir DIR$"):
        broadcast_run_dir(tasks()[1], tmp_path / "run", lambda: (tmp_path / "run", False))


def test_one_of_several_processes_prints_a_shared_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agree_on_run_dir.tempfile, "tempdir", str(tmp_path))
    assert in_threads(lambda launch: should_print(launch, "no such folder"), tasks()) == [True, False, False]
    assert should_print(tasks()[0], "something else")
    assert should_print(tasks(key="another start")[0], "no such folder")
    assert should_print(LaunchInfo("Lightning"), "no such folder")
    assert should_print(LaunchInfo("Lightning"), "no such folder")
