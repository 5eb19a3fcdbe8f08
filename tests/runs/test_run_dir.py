import errno
import fcntl
from pathlib import Path

import pytest
from run_directories import CONFIG, locked, make_run_dir

from lit_inpaint.errors import UserError
from lit_inpaint.runs.run_dir import RunDir


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_file_system_without_locks_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with pytest.warns(UserWarning, match="the file system of run has no locks"):
        RunDir(Path("run")).lock()


@pytest.mark.parametrize(
    ("limits", "complete"),
    [
        ({"max_steps": 8}, True),
        ({"max_steps": 5}, True),
        ({"max_steps": 9}, False),
        ({"max_steps": -1, "max_epochs": 3}, False),
    ],
)
def test_which_limits_a_finished_run_completes(limits: dict[str, int], complete: bool) -> None:
    make_run_dir(Path("run"), "finished")
    assert RunDir(Path("run")).complete({**CONFIG["trainer"], **limits}) == complete
    assert not RunDir(Path("other")).complete(CONFIG["trainer"])


def test_discard_deletes_only_what_lock_created() -> None:
    Path("runs").mkdir()
    Path("mine").mkdir()
    for path, left in (("runs/demo/1", ["mine", "runs"]), ("mine", ["mine", "runs"])):
        run = RunDir(Path(path))
        run.open("a: 1\n")
        run.discard()
        assert sorted(str(path) for path in Path().rglob("*")) == left
    make_run_dir(Path("kept"), "unfinished")
    Path("theirs").mkdir()
    Path("theirs/file").write_text("")
    for path in ("kept", "theirs"):
        run = RunDir(Path(path))
        run.lock()
        run.discard()
    assert Path("kept/checkpoints/last.ckpt").is_file()
    assert Path("theirs/file").is_file()
    with locked(Path("theirs")):
        run = RunDir(Path("theirs"))
        with pytest.raises(UserError):
            run.lock()
        run.discard()
    assert Path("theirs/file").is_file()


@pytest.mark.parametrize("path", ["file/below", "file", "/proc/x"])
def test_a_directory_that_cannot_be_written(path: str) -> None:
    Path("file").write_text("")
    run = RunDir(Path(path))
    with pytest.raises(UserError, match=f"cannot write the run directory {path} \\(.*; name another --run_dir"):
        run.open("a: 1\n")
    run.discard()
    assert Path("file").is_file()


def test_a_read_only_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    run_dir = Path("run")
    run_dir.mkdir()
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(UserError, match=r"cannot write the run directory run \(Permission denied\)"):
        RunDir(run_dir).open("a: 1\n")
