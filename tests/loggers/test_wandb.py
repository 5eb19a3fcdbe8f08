"""W&B's files on disk, and what it uploads to a fake server on this machine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_gan
import wandb
import yaml
from fake_wandb import FakeWandb
from tiny_runs import Killed, assert_same, at, content, kill, run
from wandb_files import configuration, files, history, records

from lit_inpaint.errors import UserError
from lit_inpaint.loggers.wandb import Wandb

KEY = "k" * 40
ALL = ["--wandb.tags", "[tiny]", "--wandb.group", "small", "--wandb.notes", "a test", "--wandb.log_best", "true"]


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide this machine's W&B account and settings."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture(scope="module")
def uninterrupted(tiny_experiment: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps without W&B."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert run(folder, *tiny_experiment) == 0
    return folder


@pytest.fixture(scope="module")
def folder(tiny_experiment: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An offline run that was killed in steps 5, 7 and 6 and resumed three times, from the checkpoint of step 4."""
    path = tmp_path_factory.mktemp("offline") / "run"
    options = [*tiny_experiment, *ALL, "--wandb.mode", "auto", "--wandb.watch", "all"]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_RUN_ID"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(path / "none"))
        for step in (5, 7, 6):
            with at(step, "training_step", kill), pytest.raises(Killed):
                run(path, *options)
        assert run(path, *options) == 0
        assert "WANDB_MODE" not in os.environ  # otherwise the next run in this process would be offline too
    assert wandb.run is None
    return path


def test_one_run_over_three_interruptions(folder: Path) -> None:
    run_id = (folder / "wandb" / "run_id.txt").read_text().strip()
    starts = [next(r.run for r in records(path) if r.HasField("run")) for path in files(folder)]
    assert [start.run_id for start in starts] == [run_id] * 4
    assert {start.project for start in starts} == {"lit_inpaint"}
    assert {(start.display_name, start.run_group, start.notes) for start in starts} == {("tiny/run", "small", "a test")}
    assert {tuple(start.tags) for start in starts} == {("tiny",)}


def test_the_complete_configuration_and_the_environment(folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for path in files(folder):
        found = configuration(path)
        assert {key: found[key] for key in config} == config
        assert (found["processes"], found["effective_batch"]) == (1, 2)
        assert {"host", "cpu", "torch", "lightning"} <= found["machine"].keys()
        assert found["machine"]["host"] == socket.gethostname()


def test_images_and_numbers_have_the_same_step_and_none_is_lost(folder: Path) -> None:
    parts = [history(path) for path in files(folder)]
    trained = ([1, 2, 3, 4, 5], [5, 6, 7], [5, 6], [5, 6, 7, 8])
    for part, steps, validations in zip(parts, trained, ([4], [], [], [8]), strict=True):
        assert [row["trainer/global_step"] for row in part if "train/l1" in row] == steps
        for key in ("val/psnr", "val/ssim", "val/l1", "val/samples/filenames"):
            assert [row["trainer/global_step"] for row in part if key in row] == validations, key
        assert all("trainer/global_step" in row for row in part)
    assert [row["trainer/global_step"] for part in parts for row in part if "cost/macs" in row] == [1]
    keys = {key for part in parts for row in part for key in row}
    assert {"train/generator", "train/discriminator", "train/lr_generator", "train/images_per_second"} <= keys
    (name,) = next(row["val/samples/filenames"] for row in parts[0] if "val/samples/filenames" in row)
    assert (files(folder)[0].parent / "files" / name).is_file()


def test_the_axis_of_every_chart_is_the_step(folder: Path) -> None:
    for path in files(folder):
        metrics = {r.metric.glob_name or r.metric.name: r.metric.step_metric for r in records(path) if r.HasField("metric")}
        assert metrics["*"] == "trainer/global_step"


def test_watches_gradients_and_weights(folder: Path) -> None:
    keys = {"/".join(part) for row in history(files(folder)[0]) for part in [tuple(row)]}
    for kind in ("gradients", "parameters"):
        for network in ("generator", "discriminator"):
            assert any(f"{kind}/{network}." in key for key in keys), (kind, network)


def test_the_best_checkpoint_is_logged_once_per_step(folder: Path) -> None:
    logged = [r.artifact for path in files(folder) for r in records(path) if r.HasField("artifact")]
    step = content(folder, "best")["global_step"]
    (artifact,) = [found for found in logged if found.type == "model"]
    assert artifact.name == f"best-{(folder / 'wandb' / 'run_id.txt').read_text().strip()}"
    assert {"best", f"step-{step}"} <= set(artifact.aliases)
    (file,) = artifact.manifest.contents
    assert Path(file.local_path).is_relative_to(folder)  # not in a cache in the home directory
    assert Path(file.local_path).read_bytes() == (folder / "checkpoints" / "best.ckpt").read_bytes()


def test_sync_uploads_one_run(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    with FakeWandb() as server:
        environment = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        command = [str(Path(sys.executable).with_name("wandb")), "sync", "--yes"]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    ((name, uploaded),) = server.runs.items()
    rows = [uploaded.history[number] for number in sorted(uploaded.history)]
    assert name == (folder / "wandb" / "run_id.txt").read_text().strip()
    assert [row["trainer/global_step"] for row in rows if "train/l1" in row] == [1, 2, 3, 4, 5, 5, 6, 7, 5, 6, 5, 6, 7, 8]
    assert [row["trainer/global_step"] for row in rows if "val/samples" in row] == [4, 8]
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert sum(name.startswith("media/images/val/samples") for name in uploaded.files) == 2
    assert uploaded.config["effective_batch"] == 2
    assert uploaded.summary["cost/parameters"] > 0


def online(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb.teardown()  # the service process keeps the address that it was started with
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def assert_uninterrupted(folder: Path, uninterrupted: Path) -> None:
    assert_same(content(folder)["state_dict"], content(uninterrupted)["state_dict"])


def test_online(tiny_experiment: list[str], uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeWandb() as server:
        online(server.url, monkeypatch)
        assert run(tmp_path / "run", *tiny_experiment, "--wandb.mode", "auto") == 0
        (uploaded,) = server.runs.values()
    assert [row["trainer/global_step"] for row in uploaded.history.values() if "train/l1" in row] == list(range(1, 9))
    assert (uploaded.exit_code, uploaded.description["displayName"]) == (0, "tiny/run")
    assert_uninterrupted(tmp_path / "run", uninterrupted)


def test_training_continues_when_the_server_disappears(
    tiny_experiment: list[str],
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with FakeWandb() as server:
        online(server.url, monkeypatch)
        started = time.perf_counter()
        with at(3, "training_step", server.kill):
            assert run(tmp_path / "run", *tiny_experiment, "--wandb.mode", "online", "--wandb.finish_timeout", "2") == 0
        assert time.perf_counter() - started < 30
    assert "W&B: not everything was uploaded" in capsys.readouterr().err
    assert_uninterrupted(tmp_path / "run", uninterrupted)
    (file,) = files(tmp_path / "run", "run")
    assert [row["trainer/global_step"] for row in history(file) if "train/l1" in row] == list(range(1, 9))
    with FakeWandb() as server:  # the rest can be uploaded later
        environment = os.environ | {"WANDB_BASE_URL": server.url}
        command = [str(Path(sys.executable).with_name("wandb")), "sync", "--yes", "--include-online"]
        subprocess.run(command, cwd=tmp_path / "run", env=environment, capture_output=True, timeout=60, check=True)
    (uploaded,) = server.runs.values()
    assert [row["trainer/global_step"] for row in uploaded.history.values() if "train/l1" in row] == list(range(1, 9))


def test_offline_without_a_server_at_the_start(
    tiny_experiment: list[str],
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    online("http://127.0.0.1:9", monkeypatch)
    started = time.perf_counter()
    assert run(tmp_path / "run", *tiny_experiment, "--wandb.mode", "auto", "--wandb.init_timeout", "1") == 0
    assert time.perf_counter() - started < 30
    printed = capsys.readouterr()
    assert printed.err.count("W&B: the server cannot be reached") == 1
    assert f"W&B: offline; to upload it: cd {tmp_path / 'run'} && wandb sync" in printed.out
    (file,) = files(tmp_path / "run")
    assert [row["trainer/global_step"] for row in history(file) if "train/l1" in row] == list(range(1, 9))
    assert not files(tmp_path / "run", "run")
    assert_uninterrupted(tmp_path / "run", uninterrupted)


def test_training_continues_when_the_service_process_ends(
    tiny_experiment: list[str], uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.teardown()
    with at(3, "training_step", kill_service):
        assert run(tmp_path / "run", *tiny_experiment, "--wandb.mode", "offline") == 0
    assert "training continues without it" in capsys.readouterr().err
    assert_uninterrupted(tmp_path / "run", uninterrupted)
    wandb.teardown()


def kill_service() -> None:
    """Kill the service process of this process."""
    for status in Path("/proc").glob("[0-9]*/status"):
        lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        if lines["Name"].startswith("wandb-core") and int(lines["PPid"]) == os.getpid():
            os.kill(int(lines["Pid"]), signal.SIGKILL)
            return
    raise AssertionError("no wandb-core below this process")


def test_the_id_is_written_once_and_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wandb agent` creates the run before its program starts."""
    monkeypatch.setenv("WANDB_RUN_ID", "agents0")
    for _ in range(2):
        logger = Wandb(mode="offline").logger(tmp_path, "name", {})
        assert logger is not None
        assert not (tmp_path / "wandb").exists() or (tmp_path / "wandb" / "run_id.txt").read_text() == "agents0\n"
        logger.start({}, tiny_gan.make_tiny(), 0)
        assert logger.version == "agents0"
        logger._experiment.finish()
        monkeypatch.setenv("WANDB_RUN_ID", "another")


@pytest.mark.parametrize(
    ("mode", "variable", "key", "resolved"),
    [
        ("auto", None, None, "offline"),
        ("auto", None, KEY, "online"),
        ("auto", "disabled", KEY, "disabled"),
        ("auto", "dryrun", KEY, "offline"),
        ("offline", "online", KEY, "offline"),
        ("disabled", "online", KEY, "disabled"),
    ],
)
def test_modes(
    mode: Any, variable: str | None, key: str | None, resolved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WANDB_MODE", variable), ("WANDB_API_KEY", key)):
        if value is not None:
            monkeypatch.setenv(name, value)
    logger = Wandb(mode=mode).logger(tmp_path, "name", {})
    assert (logger is None) == (resolved == "disabled")
    assert logger is None or logger.mode == resolved
    assert not (tmp_path / "wandb").exists()  # not before `start`: the other processes of a run have a logger too


@pytest.mark.parametrize("machine", ["api.forge.coreweave.com", "api.wandb.ai"])
def test_online_never_prompts_for_a_key(machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb.teardown()  # W&B would remember the server of an earlier test in this process
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match="no W&B key is known here"):
        Wandb(mode="online").logger(tmp_path, "name", {})
    (tmp_path / "netrc").write_text(f"machine {machine} login user password abc\n")
    assert Wandb(mode="online").logger(tmp_path, "name", {}) is not None
    monkeypatch.setenv("WANDB_BASE_URL", "http://own.example:8080")
    with pytest.raises(UserError, match="no W&B key is known here"):
        Wandb(mode="online").logger(tmp_path, "name", {})
    (tmp_path / "netrc").write_text("machine own.example:8080 login user password abc\n")
    assert Wandb(mode="online").logger(tmp_path, "name", {}) is not None


@pytest.mark.parametrize("setting", ["init_timeout", "finish_timeout"])
def test_timeouts_are_positive(setting: str) -> None:
    make: Callable[..., Wandb] = Wandb
    with pytest.raises(UserError, match=f"wandb.{setting} is 0"):
        make(**{setting: 0})


def test_an_unknown_mode_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "foo")
    with pytest.raises(UserError, match="WANDB_MODE is 'foo'; set it to online, offline or disabled"):
        Wandb().logger(tmp_path, "a", {})
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("lit_inpaint.loggers.wandb.has_api_key", lambda: False)
    with pytest.raises(UserError, match="WANDB_MODE is online, but no W&B key is known"):
        Wandb().logger(tmp_path, "a", {})
