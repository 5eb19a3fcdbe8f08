import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import TINY

from lit_inpaint import fit
from lit_inpaint.config import check_settings, entry_point
from lit_inpaint.errors import UserError


@pytest.mark.parametrize(
    ("outcome", "status", "printed"),
    [
        (0, 0, ""),
        (None, 0, ""),
        (3, 3, ""),
        (UserError("two\n lines"), 2, "error: two lines\n"),
        (UserError("a\x1b[31m\u202e\udcff.png"), 2, "error: a\\x1b[31m\\u202e\\udcff.png\n"),
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


_PRINT_ALL_HELP = """
import importlib, pathlib, sys, lit_inpaint
package = pathlib.Path(lit_inpaint.__path__[0])
for path in sorted([*package.glob("*.py"), *package.glob("*/__main__.py")]):
    if "entry_point.run_command(main)" in path.read_text():
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        try:
            importlib.import_module(f"lit_inpaint.{name}").main(["--help"])
        except SystemExit as done:
            loaded = {"torch", "lightning", "numpy", "PIL", "cv2", "scipy", "starlette", "onnx"} & sys.modules.keys()
            print(name, done.code, sorted(loaded), file=sys.stderr)
"""


def test_help_of_every_command_loads_no_large_library() -> None:
    """`import torch` alone takes more than a second, on a network file system half a minute."""
    done = subprocess.run([sys.executable, "-c", _PRINT_ALL_HELP], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert {"app.__main__ 0 []", "fit 0 []", "evaluate 0 []", "inpaint 0 []"} <= set(lines)
    assert not [line for line in lines if not line.endswith(" 0 []")]


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


@pytest.mark.parametrize(("encoding", "printed"), [("ascii", b"dB \\u2026 \\udcfc"), ("utf-8", "dB … \\udcfc".encode())])
def test_a_terminal_without_a_character_shows_an_escape(encoding: str, printed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table must not be lost after hours of evaluation, as its names are printed at the end."""
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding=encoding, write_through=True))
    with pytest.raises(SystemExit):
        entry_point.run_command(lambda argv: print("dB … \udcfc"))
    assert output.getvalue().strip() == printed


def test_a_setting_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    argv = [*TINY, "--run_dir", str(tmp_path / "run"), "--data.root", os.fsdecode(b"M\xfcller")]
    with pytest.raises(
        UserError, match=r"^data.root 'M\\udcfcller' has bytes that are not UTF-8, which a configuration cannot hold"
    ):
        fit.main(argv)


def test_too_little_memory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fill(argv: list[str]) -> int:
        raise MemoryError("Unable to allocate 7 TiB")

    with pytest.raises(SystemExit) as left:
        entry_point.run_command(fill)
    assert left.value.code == 2
    assert (
        capsys.readouterr().err
        == "error: not enough memory (Unable to allocate 7 TiB); use smaller images, batches or networks\n"
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EROFS, "the file system is read-only"),
        (errno.EFBIG, "a file may not grow"),
        (errno.EACCES, "permission denied"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.ELOOP, "its links lead in a circle"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line(number: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def full(argv: list[str]) -> int:
        raise OSError(number, "refused", "out/a.png")

    with pytest.raises(SystemExit):
        entry_point.run_command(full)
    assert re.fullmatch(rf"error: {text}.* for out/a.png; .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_closed_pipe_ends_a_command_without_a_traceback(lines: int) -> None:
    code = f"""
from lit_inpaint.config.entry_point import run_command
def main(argv):
    for _ in range({lines}): print("x" * 80)
run_command(main)
"""
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stderr is not None
    started.stdout.close()
    assert started.stderr.read() == ""
    assert started.wait() == 128 + 13


def test_a_text_with_anchors_that_repeat_a_billion_values_is_refused() -> None:
    laughs = "a: &a [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1 if n else ''}, *a{n - 1 if n else ''}]\n" for n in range(30))
    with pytest.raises(UserError, match=r"^data.root stands for more than 1,000,000 values"):
        check_settings._check_text({"data": {"root": laughs}}, "")
    check_settings._check_text({"data": {"root": "a & b * c"}}, "")


@pytest.mark.parametrize("name", ["../../elsewhere", "/elsewhere", "a/../../b", " "])
def test_the_name_of_an_experiment_stays_below_the_folder_of_runs(name: str) -> None:
    with pytest.raises(UserError, match=r"^experiment is '.*'; it names a folder below runs/"):
        check_settings._check_name(name)
    check_settings._check_name("places2/lama..2")
