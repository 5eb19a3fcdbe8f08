import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_directories import CONFIG, locked, make_run_dir
from tiny_runs import TINY, run

from lit_inpaint import fit
from lit_inpaint.cluster.launch_info import LaunchInfo
from lit_inpaint.cluster.slurm_job import SlurmJob
from lit_inpaint.data import InpaintingData
from lit_inpaint.errors import UserError
from lit_inpaint.runs.choose_run_dir import choose_run, choose_run_dir
from lit_inpaint.runs.run_dir import RunDir


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


NEW, RESUMES = "new", "resumes"


@pytest.mark.parametrize(
    ("state", "resume", "named", "unnamed"),
    [
        ("nothing", "auto", NEW, NEW),
        ("nothing", "must", "there is no", "holds no unfinished run"),
        ("nothing", "never", NEW, NEW),
        ("only started", "auto", NEW, NEW),
        ("only started", "must", "there is no", "holds no unfinished run"),
        ("only started", "never", "already holds a run", NEW),
        ("unfinished", "auto", RESUMES, RESUMES),
        ("unfinished", "must", RESUMES, RESUMES),
        ("unfinished", "never", "already holds a run", NEW),
        ("finished", "auto", RESUMES, NEW),
        ("finished", "must", RESUMES, "holds no unfinished run"),
        ("finished", "never", "already holds a run", NEW),
        ("other settings", "auto", r"model\.init_args\.blocks: 4 -> 1", NEW),
        ("other settings", "must", r"model\.init_args\.blocks: 4 -> 1", "holds no unfinished run"),
        ("other settings", "never", "already holds a run", NEW),
    ],
)
def test_the_chosen_directory(state: str, resume: Any, named: str, unnamed: str) -> None:
    there = Path("runs/demo/20200101-000000")
    make_run_dir(there, state)
    for run_dir, expected in ((str(there), named), (None, unnamed)):
        if expected not in (NEW, RESUMES):
            with pytest.raises(UserError, match=expected):
                choose_run("demo", run_dir, resume, CONFIG)
            continue
        run, resumes = choose_run("demo", run_dir, resume, CONFIG)
        assert resumes == (expected == RESUMES)
        if run_dir is not None or expected == RESUMES:
            assert run.path == there
        else:
            assert run.path.parent == there.parent
            assert run.path != there
            assert not run.path.exists()
        run.unlock()


def test_the_newest_unfinished_run_that_is_not_locked() -> None:
    for name in ("1", "2", "3"):
        make_run_dir(Path("runs/demo") / name, "unfinished")
    make_run_dir(Path("runs/demo/4"), "finished")
    Path("runs/demo/5").mkdir()
    with locked(Path("runs/demo/3")):
        assert choose_run("demo", None, "auto", CONFIG)[0].path.name == "2"
        with pytest.raises(UserError, match="another process is training in runs/demo/3; wait for it or name another"):
            RunDir(Path("runs/demo/3")).lock()
    assert choose_run("demo", None, "auto", CONFIG)[0].path.name == "3"
    with locked(Path("runs/demo/1")), locked(Path("runs/demo/2")), locked(Path("runs/demo/3")):
        run, resumes = choose_run("demo", None, "auto", CONFIG)
        assert not resumes
        assert not run.path.exists()


def test_other_processes_use_the_directory_of_the_first() -> None:
    make_run_dir(Path("runs/demo/1"), "only started")
    for resume in ("auto", "never"):
        run, resumes = choose_run("demo", "runs/demo/1", resume, CONFIG, first=False)
        assert (run.path, resumes) == (Path("runs/demo/1"), False)


def test_a_directory_is_named_after_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_inpaint.runs.choose_run_dir.current_job", lambda: SlurmJob("17_3", 0))
    make_run_dir(Path("runs/demo/17"), "only started")
    assert choose_run_dir(LaunchInfo("Lightning"), None, "auto", CONFIG)[0].path == Path("runs/demo/17_3")
    make_run_dir(Path("runs/demo/17_3"), "other settings")  # another step of the same job
    assert choose_run_dir(LaunchInfo("Lightning"), None, "auto", CONFIG)[0].path == Path("runs/demo/17_3-2")


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_requeued_job_resumes_in_its_own_directory(resume: Any) -> None:
    make_run_dir(Path("runs/demo/17"), "other settings")
    make_run_dir(Path("runs/demo/17-2"), "unfinished")
    for name in ("170", "17_1", "20300101-000000"):
        make_run_dir(Path("runs/demo") / name, "unfinished")
    run, resumes = choose_run("demo", None, resume, CONFIG, job=SlurmJob("17", 1))
    assert (run.path, resumes) == (Path("runs/demo/17-2"), True)
    assert choose_run("demo", "runs/demo/17-2", resume, CONFIG, job=SlurmJob("17", 1))[1]
    run.unlock()
    with locked(Path("runs/demo/17-2")), pytest.raises(UserError, match="another process is training in runs/demo/17-2"):
        choose_run("demo", None, resume, CONFIG, job=SlurmJob("17", 1))


def test_starts_in_the_same_second_get_different_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20300101-000000")
    runs = [choose_run_dir(LaunchInfo("Lightning"), None, "auto", CONFIG)[0] for _ in range(3)]
    assert [new.path.name for new in runs] == ["20300101-000000", "20300101-000000-2", "20300101-000000-3"]
    for new in reversed(runs):
        new.discard()
    assert not Path("runs").exists()


@pytest.mark.parametrize("error", [UserError("a mistake"), RuntimeError("a fault"), KeyboardInterrupt()])
def test_an_error_before_the_start_leaves_no_directory(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: InpaintingData) -> None:
        assert [path.name for path in Path("runs/lpi_demo").iterdir()] == [time.strftime("%Y")]
        raise error

    monkeypatch.setattr("lit_inpaint.runs.choose_run_dir.time", type("Clock", (), {"strftime": lambda _: time.strftime("%Y")}))
    monkeypatch.setattr(InpaintingData, "prepare_data", fail)
    with pytest.raises(type(error)):
        fit.main(TINY)
    assert not Path("runs").exists()


def test_a_requeued_job_stays_in_its_directory_without_a_checkpoint_or_when_complete() -> None:
    make_run_dir(Path("runs/demo/17"), "finished")
    make_run_dir(Path("runs/demo/18"), "only started")
    assert choose_run("demo", None, "auto", CONFIG, job=SlurmJob("17", 1))[0].complete(CONFIG["trainer"])
    run, resumes = choose_run("demo", None, "auto", CONFIG, job=SlurmJob("18", 1))
    assert (run.path, resumes) == (Path("runs/demo/18"), False)


def test_the_newest_run_is_the_last_saved_one() -> None:
    for name in ("9", "20200101-000000", "10"):
        make_run_dir(Path("runs/demo") / name, "unfinished")
    assert choose_run("demo", None, "auto", CONFIG, job=SlurmJob("11", 0))[0].path.name == "10"


def test_paths_and_workers_may_change() -> None:
    make_run_dir(Path("run"), "unfinished")
    moved = {**CONFIG, "data": {"class_path": "Data", "init_args": {"size": 64, "root": "b", "workers": 4}}}
    assert choose_run("demo", "run", "auto", moved)[1]


def test_an_invalid_stored_configuration() -> None:
    make_run_dir(Path("run"), "unfinished")
    Path("run/config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"run/config\.yaml is not valid YAML"):
        choose_run("demo", "run", "auto", CONFIG)


def test_a_second_launch_in_a_locked_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes before anything else: the other processes of that launch would wait for the first one in vain."""
    monkeypatch.setattr(InpaintingData, "prepare_data", lambda self: pytest.fail("prepared its data first"))
    folder = tmp_path / "run"
    folder.mkdir()
    with locked(folder), pytest.raises(UserError, match="another process is training"):
        run(folder)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_another_version_of_the_package_finds_the_runs_of_this_one() -> None:
    """Settings of logging do not matter; settings of training do."""
    make_run_dir(Path("runs/demo/1"), "unfinished")
    stored = yaml.safe_load(Path("runs/demo/1/config.yaml").read_text())
    newer = {**stored, "tensorboard": True, "sample_every": 3, "wandb": {"mode": "online", "log_best": True}}
    newer["trainer"] = {**stored["trainer"], "new": 1, "log_every_n_steps": 7}
    for config in (newer, {key: value for key, value in newer.items() if key != "wandb"}):
        assert choose_run("demo", None, "must", config)[0].path == Path("runs/demo/1")
    for config in ({**newer, "seed": 9}, {**newer, "trainer": {**newer["trainer"], "max_steps": 77}}):
        with pytest.raises(UserError, match="holds no unfinished run with these settings"):
            choose_run("demo", None, "must", config)


def test_a_trial_of_a_sweep_resumes_its_own_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    make_run_dir(Path("runs/demo/1"), "unfinished")
    Path("runs/demo/1/wandb").mkdir()
    Path("runs/demo/1/wandb/run_id.txt").write_text("aaaa1111\n")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    monkeypatch.setenv("WANDB_RUN_ID", "aaaa1111")
    run, resumes = choose_run("demo", None, "auto", CONFIG)
    assert resumes
    run.unlock()
    monkeypatch.setenv("WANDB_RUN_ID", "bbbb2222")
    assert not choose_run("demo", None, "auto", CONFIG)[1]
    with pytest.raises(UserError, match="belongs to another trial of the sweep"):
        choose_run("demo", "runs/demo/1", "auto", CONFIG)
