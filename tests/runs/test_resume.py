"""A run that was stopped and resumed equals the uninterrupted run, bit for bit."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tiny_runs import assert_same, assert_same_run, content, rows, run_small, run_small_killed

from lit_inpaint.callbacks import AtomicCheckpointIO

Stop = Callable[[Path], None]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert run_small(folder) == 0
    return folder


def after(step: int) -> Stop:
    """Stop a run by `max_steps`."""

    def stop(folder: Path) -> None:
        assert run_small(folder, "--trainer.max_steps", str(step)) == 0

    return stop


def killed(step: int, hook: str, *options: str) -> Stop:
    """Kill a run where the paper's `hook` is called at `step`."""

    def stop(folder: Path) -> None:
        run_small_killed(folder, step, hook, *options)

    return stop


@pytest.mark.parametrize(
    ("stop", "saved"),
    [
        pytest.param(after(1), 1, id="in the middle of an epoch"),
        pytest.param(after(3), 3, id="at the last batch of an epoch"),
        pytest.param(after(4), 4, id="at a validation, beyond an epoch"),
        pytest.param(killed(1, "training_step", "--checkpoint_every", "1"), 1, id="killed in the middle of an epoch"),
        pytest.param(killed(5, "training_step"), 4, id="killed after a validation"),
        pytest.param(killed(4, "validation_step"), 4, id="killed in a validation"),
        pytest.param(killed(4, "on_validation_end"), 4, id="killed after a validation was saved"),
        pytest.param(killed(8, "validation_step"), 8, id="killed in the last validation"),
        pytest.param(killed(8, "on_train_end"), 8, id="killed after the last validation"),
    ],
)
def test_resumed_equals_uninterrupted(stop: Stop, saved: int, uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stop(folder)
    assert content(folder)["global_step"] == saved
    assert run_small(folder) == 0
    assert_same_run(folder, uninterrupted)


def test_killed_in_a_validation_at_an_epochs_end(tmp_path: Path) -> None:
    options = ("--trainer.val_check_interval", "3")
    assert run_small(tmp_path / "a", *options) == 0
    killed(6, "validation_step", *options)(tmp_path / "b")
    assert run_small(tmp_path / "b", *options) == 0
    assert_same_run(tmp_path / "b", tmp_path / "a")


def test_worker_processes_change_nothing(uninterrupted: Path, tmp_path: Path) -> None:
    killed(5, "training_step", "--data.workers", "2")(tmp_path / "run")
    assert run_small(tmp_path / "run", "--data.workers", "2") == 0
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_run_limited_by_epochs(tmp_path: Path) -> None:
    limit = ("--trainer.max_steps", "-1", "--trainer.max_epochs")
    assert run_small(tmp_path / "a", *limit, "2") == 0
    assert run_small(tmp_path / "b", *limit, "1") == 0
    assert run_small(tmp_path / "b", *limit, "2") == 0
    assert content(tmp_path / "a")["global_step"] == 6
    assert_same_run(tmp_path / "b", tmp_path / "a")


def test_logs_and_checkpoints_of_an_uninterrupted_run(uninterrupted: Path) -> None:
    found = rows(uninterrupted)
    assert [int(row["step"]) for row in found if "train/l1" in row] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [int(row["step"]) for row in found if "val/psnr" in row] == [4, 8]
    last, best = content(uninterrupted), content(uninterrupted, "best")
    assert last["global_step"] == 8
    assert last["callbacks"]["GeneratorEMA"]["updates"] == 8
    values = {int(row["step"]): float(row["val/psnr"]) for row in found if "val/psnr" in row}
    step = max(values, key=lambda key: values[key])
    assert best["global_step"] == last["callbacks"]["RunCheckpoint"]["best_step"] == step
    assert last["callbacks"]["RunCheckpoint"]["best_value"] == pytest.approx(values[step], rel=1e-6)


def test_replay_of_a_configuration(uninterrupted: Path, tmp_path: Path) -> None:
    from lit_inpaint import fit

    assert fit.main(["--config", str(uninterrupted / "config.yaml"), "--run_dir", str(tmp_path / "again")]) == 0
    assert_same_run(tmp_path / "again", uninterrupted)
    assert (tmp_path / "again" / "config.yaml").read_text() == (uninterrupted / "config.yaml").read_text()


def test_a_complete_run_is_not_changed(uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run_small(folder) == 0
    assert run_small(folder, "--trainer.max_steps", "6") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{folder} is complete (8 steps); raise --trainer.max_steps to train on"] * 2
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert run_small(folder, "--trainer.max_steps", "9") == 0
    assert content(folder)["global_step"] == 9
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_steps"] == 9


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(3)}, path)

    def half(checkpoint: object, file: object, *args: object, **kwargs: object) -> None:
        Path(str(file)).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning.fabric.plugins.io.torch_io._atomic_save", half)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(3)}, path)
    assert_same(torch.load(path), {"weights": torch.ones(3)})
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
