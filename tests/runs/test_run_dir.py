import errno
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import run

from lit_inpaint.cluster.slurm_job import SlurmJob
from lit_inpaint.data import InpaintingData
from lit_inpaint.errors import UserError
from lit_inpaint.runs.choose_run_dir import choose_run
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


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(path: Path, state: str) -> None:
    """A run folder as a run leaves it."""
    if state == "nothing":
        return
    run = RunDir(path)
    run.open(yaml.safe_dump(OTHER if state == "other settings" else CONFIG))
    if state != "only begun":
        run.checkpoints.mkdir()
        run.last.write_bytes(b"checkpoint")
    if state == "finished":
        run.finish(8)
    run.unlock()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process trains in `path`."""
    code = (
        f"import fcntl, sys; f = open({str(path / '.lock')!r}, 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


NEW, ON = "new", "goes on"


@pytest.mark.parametrize(
    ("state", "resume", "named", "unnamed"),
    [
        ("nothing", "auto", NEW, NEW),
        ("nothing", "must", "there is no", "holds no unfinished run"),
        ("nothing", "never", NEW, NEW),
        ("only begun", "auto", NEW, NEW),
        ("only begun", "must", "there is no", "holds no unfinished run"),
        ("only begun", "never", "already holds a run", NEW),
        ("unfinished", "auto", ON, ON),
        ("unfinished", "must", ON, ON),
        ("unfinished", "never", "already holds a run", NEW),
        ("finished", "auto", ON, NEW),
        ("finished", "must", ON, "holds no unfinished run"),
        ("finished", "never", "already holds a run", NEW),
        ("other settings", "auto", r"model\.init_args\.blocks: 4 -> 1", NEW),
        ("other settings", "must", r"model\.init_args\.blocks: 4 -> 1", "holds no unfinished run"),
        ("other settings", "never", "already holds a run", NEW),
    ],
)
def test_where_a_run_goes(state: str, resume: Any, named: str, unnamed: str) -> None:
    there = Path("runs/demo/20200101-000000")
    make(there, state)
    for run_dir, expected in ((str(there), named), (None, unnamed)):
        if expected not in (NEW, ON):
            with pytest.raises(UserError, match=expected):
                choose_run("demo", run_dir, resume, CONFIG)
            continue
        run, going_on = choose_run("demo", run_dir, resume, CONFIG)
        assert going_on == (expected == ON)
        if run_dir is not None or expected == ON:
            assert run.path == there
        else:
            assert run.path.parent == there.parent
            assert run.path != there
            assert not run.path.exists()
        run.unlock()


def test_the_newest_unfinished_run_that_nobody_trains() -> None:
    for name in ("1", "2", "3"):
        make(Path("runs/demo") / name, "unfinished")
    make(Path("runs/demo/4"), "finished")
    Path("runs/demo/5").mkdir()
    with held(Path("runs/demo/3")):
        assert choose_run("demo", None, "auto", CONFIG)[0].path.name == "2"
        with pytest.raises(UserError, match="another process is training in runs/demo/3; wait for it or name another"):
            RunDir(Path("runs/demo/3")).lock()
    assert choose_run("demo", None, "auto", CONFIG)[0].path.name == "3"
    with held(Path("runs/demo/1")), held(Path("runs/demo/2")), held(Path("runs/demo/3")):
        run, going_on = choose_run("demo", None, "auto", CONFIG)
        assert not going_on
        assert not run.path.exists()


def test_the_other_processes_of_a_run_follow_the_first() -> None:
    make(Path("runs/demo/1"), "only begun")
    for resume in ("auto", "never"):
        run, going_on = choose_run("demo", "runs/demo/1", resume, CONFIG, first=False)
        assert (run.path, going_on) == (Path("runs/demo/1"), False)


def test_a_folder_is_named_after_its_job() -> None:
    assert choose_run("demo", None, "auto", CONFIG, job=SlurmJob("17_3", 0))[0].path == Path("runs/demo/17_3")
    make(Path("runs/demo/17_3"), "other settings")  # another step of the same job
    assert choose_run("demo", None, "auto", CONFIG, job=SlurmJob("17_3", 0))[0].path == Path("runs/demo/17_3-2")


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_job_that_is_back_goes_on_in_its_own_folder(resume: Any) -> None:
    make(Path("runs/demo/17"), "other settings")
    make(Path("runs/demo/17-2"), "unfinished")
    for name in ("170", "17_1", "20300101-000000"):
        make(Path("runs/demo") / name, "unfinished")
    run, going_on = choose_run("demo", None, resume, CONFIG, job=SlurmJob("17", 1))
    assert (run.path, going_on) == (Path("runs/demo/17-2"), True)
    assert choose_run("demo", "runs/demo/17-2", resume, CONFIG, job=SlurmJob("17", 1))[1]
    run.unlock()
    with held(Path("runs/demo/17-2")), pytest.raises(UserError, match="another process is training in runs/demo/17-2"):
        choose_run("demo", None, resume, CONFIG, job=SlurmJob("17", 1))


def test_a_job_that_is_back_after_its_end_or_before_its_first_save_stays_where_it_was() -> None:
    make(Path("runs/demo/17"), "finished")
    make(Path("runs/demo/18"), "only begun")
    assert choose_run("demo", None, "auto", CONFIG, job=SlurmJob("17", 1))[0].complete(CONFIG["trainer"])
    run, going_on = choose_run("demo", None, "auto", CONFIG, job=SlurmJob("18", 1))
    assert (run.path, going_on) == (Path("runs/demo/18"), False)


def test_the_newest_is_the_last_saved_whatever_its_name() -> None:
    for name in ("9", "20200101-000000", "10"):
        make(Path("runs/demo") / name, "unfinished")
    assert choose_run("demo", None, "auto", CONFIG, job=SlurmJob("11", 0))[0].path.name == "10"


def test_a_file_system_without_locks_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with pytest.warns(UserWarning, match="the file system of run has no locks"):
        RunDir(Path("run")).lock()


def test_paths_and_workers_may_change() -> None:
    make(Path("run"), "unfinished")
    moved = {**CONFIG, "data": {"class_path": "Data", "init_args": {"size": 64, "root": "b", "workers": 4}}}
    assert choose_run("demo", "run", "auto", moved)[1]


@pytest.mark.parametrize(
    ("limits", "complete"),
    [
        ({"max_steps": 8}, True),
        ({"max_steps": 5}, True),
        ({"max_steps": 9}, False),
        ({"max_steps": -1, "max_epochs": 3}, False),
    ],
)
def test_what_completes_a_finished_run(limits: dict[str, int], complete: bool) -> None:
    make(Path("run"), "finished")
    assert RunDir(Path("run")).complete({**CONFIG["trainer"], **limits}) == complete
    assert not RunDir(Path("other")).complete(CONFIG["trainer"])


def test_discarding_takes_away_only_what_was_made() -> None:
    Path("runs").mkdir()
    Path("mine").mkdir()
    for path, left in (("runs/demo/1", ["mine", "runs"]), ("mine", ["mine", "runs"])):
        run = RunDir(Path(path))
        run.open("a: 1\n")
        run.discard()
        assert sorted(str(path) for path in Path().rglob("*")) == left
    make(Path("kept"), "unfinished")
    Path("theirs").mkdir()
    Path("theirs/file").write_text("")
    for path in ("kept", "theirs"):
        run = RunDir(Path(path))
        run.lock()
        run.discard()
    assert Path("kept/checkpoints/last.ckpt").is_file()
    assert Path("theirs/file").is_file()
    with held(Path("theirs")):
        run = RunDir(Path("theirs"))
        with pytest.raises(UserError):
            run.lock()
        run.discard()
    assert Path("theirs/file").is_file()


@pytest.mark.parametrize("path", ["file/below", "file", "/proc/x"])
def test_a_folder_that_cannot_be_written(path: str) -> None:
    Path("file").write_text("")
    run = RunDir(Path(path))
    with pytest.raises(UserError, match=f"cannot write the run directory {path} \\(.*; name another --run_dir"):
        run.open("a: 1\n")
    run.discard()
    assert Path("file").is_file()


def test_a_read_only_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    run_dir = Path("run")
    run_dir.mkdir()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"cannot write the run directory run \(Permission denied\)"):
        RunDir(run_dir).open("a: 1\n")


def test_a_broken_configuration_in_the_folder() -> None:
    make(Path("run"), "unfinished")
    Path("run/config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"cannot read run/config\.yaml"):
        choose_run("demo", "run", "auto", CONFIG)


def test_a_second_launch_in_a_folder_that_is_trained_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything else, or the other processes of that launch would wait for the first one in vain."""
    monkeypatch.setattr(InpaintingData, "prepare_data", lambda self: pytest.fail("looked at its data first"))
    folder = tmp_path / "run"
    folder.mkdir()
    with held(folder), pytest.raises(UserError, match="another process is training"):
        run(folder)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_another_version_of_the_package_finds_the_runs_of_this_one() -> None:
    """Nor does it matter how a run is logged; what it learns from does."""
    make(Path("runs/demo/1"), "unfinished")
    stored = yaml.safe_load(Path("runs/demo/1/config.yaml").read_text())
    newer = {**stored, "tensorboard": True, "sample_every": 3, "wandb": {"mode": "online", "log_best": True}}
    newer["trainer"] = {**stored["trainer"], "new": 1, "log_every_n_steps": 7}
    for config in (newer, {key: value for key, value in newer.items() if key != "wandb"}):
        assert choose_run("demo", None, "must", config)[0].path == Path("runs/demo/1")
    for config in ({**newer, "seed": 9}, {**newer, "trainer": {**newer["trainer"], "max_steps": 77}}):
        with pytest.raises(UserError, match="holds no unfinished run with these settings"):
            choose_run("demo", None, "must", config)


def test_a_trial_of_a_sweep_goes_on_with_its_own_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    make(Path("runs/demo/1"), "unfinished")
    Path("runs/demo/1/wandb").mkdir()
    Path("runs/demo/1/wandb/run_id.txt").write_text("aaaa1111\n")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    monkeypatch.setenv("WANDB_RUN_ID", "aaaa1111")
    run, going_on = choose_run("demo", None, "auto", CONFIG)
    assert going_on
    run.unlock()
    monkeypatch.setenv("WANDB_RUN_ID", "bbbb2222")
    assert not choose_run("demo", None, "auto", CONFIG)[1]
    with pytest.raises(UserError, match="belongs to another trial of the sweep"):
        choose_run("demo", "runs/demo/1", "auto", CONFIG)
