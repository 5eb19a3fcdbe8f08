import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import TINY

from lit_inpaint import fit
from lit_inpaint.config import check_settings, entry_point, load_yaml
from lit_inpaint.errors import UserError


@pytest.mark.parametrize(
    ("outcome", "status", "printed"),
    [
        (0, 0, ""),
        (None, 0, ""),
        (3, 3, ""),
        (UserError("two\n lines"), 2, "error: two lines\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted\n"),
        (SystemExit(143), 143, ""),
    ],
)
def test_exit_status(outcome: Any, status: int, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with pytest.raises(SystemExit) as left:
        entry_point.run_command(main)
    assert left.value.code == status
    assert capsys.readouterr().err == printed


def test_a_programming_error_keeps_its_traceback() -> None:
    def main(argv: list[str]) -> int:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        entry_point.run_command(main)


def test_another_class_takes_no_arguments_of_the_old_one() -> None:
    base = {"model": {"class_path": "A", "init_args": {"lr": 1, "weights": {"l1": 2, "l2": 3}}}}
    same = load_yaml.merge(base, {"model": {"class_path": "A", "init_args": {"weights": {"l1": 5}}}})
    assert same["model"] == {"class_path": "A", "init_args": {"lr": 1, "weights": {"l1": 5, "l2": 3}}}
    other = {"class_path": "B", "init_args": {"width": 4}}
    assert load_yaml.merge(base, {"model": other})["model"] == other
    assert load_yaml.override(base, ["--model.class_path", "B", "--model.width=4"])["model"] == other
    assert base["model"]["init_args"]["weights"] == {"l1": 2, "l2": 3}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--data.root", "DIR"], {"data": {"class_path": "D", "init_args": {"root": "DIR", "seed": 1}}}),
        (["--data.init_args.root=a=b"], {"data": {"class_path": "D", "init_args": {"root": "a=b", "seed": 1}}}),
        (["--data.seed", "5"], {"data": {"class_path": "D", "init_args": {"seed": 5}}}),
        (["--seed", "7"], {"seed": 7, "data": {"class_path": "D", "init_args": {}}}),
        (["--seed", "7", "--data.seed", "5"], {"seed": 7, "data": {"class_path": "D", "init_args": {"seed": 5}}}),
        (["--trainer.max_steps", "-1"], {"trainer": {"max_steps": -1}}),
        (["--ema", "null"], {"ema": None}),
        (["--data.masks.class_path", "M", "--data.masks.low", "0.1"], {"masks": None}),
    ],
)
def test_options_on_top(options: list[str], expected: dict[str, Any]) -> None:
    config: dict[str, Any] = {"seed": 0, "data": {"class_path": "D", "init_args": {"seed": 1}}}
    found = load_yaml.override(config, options)
    if "masks" in expected:
        assert found["data"]["init_args"]["masks"] == {"class_path": "M", "init_args": {"low": 0.1}}
    else:
        assert found == {**config, **expected}
    assert config == {"seed": 0, "data": {"class_path": "D", "init_args": {"seed": 1}}}


def test_base_and_sections_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "experiments"
    (folder / "data").mkdir(parents=True)
    (folder / "defaults.yaml").write_text("seed: 3\ncheckpoint_every: 7\ntrainer: {max_steps: 1}\n")
    (folder / "data" / "photos.yaml").write_text("class_path: D\ninit_args: {size: 8}\n")
    (folder / "first.yaml").write_text("model: {class_path: M}\ndata: data/photos.yaml\ntrainer: {max_steps: 2}\n")
    (folder / "second.yaml").write_text("base: first.yaml\nseed: 4\ndata: {init_args: {size: 16}}\n")
    monkeypatch.chdir(tmp_path)
    assert load_yaml.load_experiment("second") == {
        "experiment": "second",
        "seed": 4,
        "checkpoint_every": 7,
        "model": {"class_path": "M"},
        "data": {"class_path": "D", "init_args": {"size": 16}},
        "trainer": {"max_steps": 2},
    }
    assert load_yaml.load_experiment(str(folder / "first.yaml"))["experiment"] == "first"


def test_a_configuration_is_complete_and_replays(capsys: pytest.CaptureFixture[str]) -> None:
    import inspect

    from lightning.pytorch import Trainer

    from lit_inpaint.config.error_messages import RESERVED_TRAINER_ARGS, TOP
    from lit_inpaint.data import DemoPhotos
    from lit_inpaint.papers import LPINet

    assert fit.main([*TINY, "--print_config"]) == 0
    text = capsys.readouterr().out
    config = yaml.safe_load(text)
    assert config.keys() == set(TOP)
    assert config["model"]["init_args"].keys() == inspect.signature(LPINet).parameters.keys()
    assert config["data"]["init_args"].keys() == inspect.signature(DemoPhotos).parameters.keys()
    assert config["trainer"].keys() == inspect.signature(Trainer).parameters.keys() - RESERVED_TRAINER_ARGS.keys()
    assert config["model"]["init_args"]["weights"].keys() == {"l1", "adversarial", "real", "fake"}
    assert config["data"]["init_args"]["size"] == 32
    assert check_settings.dump(check_settings.check(config)) == text


def test_help_is_quick_and_whole() -> None:
    done = subprocess.run([sys.executable, "-m", "lit_inpaint.fit", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    for option in ("--experiment", "--config", "--run_dir", "--resume", "--print_config", "--trainer.max_steps"):
        assert option in done.stdout


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def full(argv: list[str]) -> int:
        raise OSError(number, "full", "temporary", None, "run/checkpoints/last.ckpt")

    with pytest.raises(SystemExit) as left:
        entry_point.run_command(full)
    assert left.value.code == 2
    expected = "error: no space left on the disk for run/checkpoints/last.ckpt; free some space, then repeat the command\n"
    assert capsys.readouterr().err == expected


def test_other_errors_of_the_system_keep_their_traceback() -> None:
    def broken(argv: list[str]) -> int:
        raise OSError(errno.EIO, "input/output error")

    with pytest.raises(OSError, match="input/output error"):
        entry_point.run_command(broken)
