"""Resizing in worker processes: it resumes after kills, full disks and changes of the data set."""

import errno
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from prepare_helpers import OPTIONS, fill, noise, report, tree, write, written_files

from lit_inpaint import prepare
from lit_inpaint.data import read_image
from lit_inpaint.data.preparation import ResizeOptions
from lit_inpaint.errors import UserError

FORK = multiprocessing.get_context("fork")


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of images, and the output of an uninterrupted preparation."""
    source_dir, output = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("uninterrupted")
    fill(source_dir, 24, size=(240, 200))
    (source_dir / "broken.jpg").write_bytes(b"no")
    write(source_dir, output, ResizeOptions(64, 190, "png"))
    return source_dir, output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_resume_after_a_kill(number: signal.Signals, uninterrupted: tuple[Path, Path], tmp_path: Path) -> None:
    source_dir, expected = uninterrupted
    output = tmp_path / "output"
    argv = ["--data", str(source_dir), "--output", str(output), "--size", "64", "--shorter_side", "190", "--format", "png"]
    process = FORK.Process(target=prepare.main, args=([*argv, "--workers", "2"],))
    process.start()
    wait_for(lambda: len(list(output.glob("train/*.png"))) >= 4)
    wait_for(lambda: (output / "report.csv").read_bytes().count(b"\n") >= 2)  # lines come in the order of the images
    assert process.pid is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(process.pid, number)
    process.join(20)
    assert process.exitcode == (-9 if number == signal.SIGKILL else 143)
    wait_for(lambda: not any(alive(int(child)) for child in children), seconds=8)
    with (output / "report.csv").open("a") as file:
        file.write("half a li")  # as after a power cut
    finished = {row["output"] for row in report(output).values() if row["usable"] == "1"}
    before = written_files(output)
    assert 1 <= len(finished) < 24
    assert not json.loads((output / "splits.json").read_text())["complete"]
    (output / "train" / ".007.png.part").write_bytes(b"half a pict")

    write(source_dir, output, ResizeOptions(64, 190, "png"), workers=2)
    after = written_files(output)
    assert {name: after[name] for name in finished} == {name: before[name] for name in finished}
    assert tree(output) == tree(expected)


def test_changed_files_are_processed_again(tmp_path: Path) -> None:
    source_dir, output = tmp_path / "in", tmp_path / "output"
    fill(source_dir / "train", 6)
    fill(source_dir / "val", 1)
    assert write(source_dir, output).num_reused == 0
    before = written_files(output)
    assert write(source_dir, output).num_reused == 7
    assert written_files(output) == before

    noise(99).save(source_dir / "train" / "001.jpg")  # another image
    (source_dir / "train" / "002.jpg").unlink()
    noise(98).save(source_dir / "train" / "new.jpg")
    (output / "train" / "003.jpg").unlink()
    (output / "train" / "004.jpg").write_bytes(b"truncated by a power cut")
    summary = write(source_dir, output)
    assert (summary.num_reused, summary.num_removed) == (3, 1)
    after = written_files(output)
    assert sorted(path.name for path in (output / "train").iterdir()) == sorted(
        path.name for path in (source_dir / "train").iterdir()
    )
    assert {name for name in before if before[name] == after.get(name)} == {"train/000.jpg", "train/005.jpg", "val/000.jpg"}
    for name in ("001", "003", "004", "new"):
        assert torch.equal(read_image(output / "train" / f"{name}.jpg"), read_image(source_dir / "train" / f"{name}.jpg"))
    assert "002.jpg" not in report(output)

    noise(97).save(output / "train" / "from_elsewhere.jpg")
    with pytest.raises(UserError, match=r"from_elsewhere\.jpg belongs to no image"):
        write(source_dir, output)
    assert (output / "train" / "from_elsewhere.jpg").exists()


@pytest.mark.parametrize("options", [OPTIONS, ResizeOptions(256, None)])
def test_unreadable_file_is_tried_again(options: ResizeOptions, tmp_path: Path) -> None:
    source_dir, output = fill(tmp_path / "in", 20), tmp_path / "output"
    content = (source_dir / "003.jpg").read_bytes()
    (source_dir / "003.jpg").write_bytes(b"?" * len(content))
    write(source_dir, output, options)
    stamp = (source_dir / "003.jpg").stat()
    (source_dir / "003.jpg").write_bytes(content)
    os.utime(source_dir / "003.jpg", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    write(source_dir, output, options)
    assert report(output)["003.jpg"]["usable"] == "1"
    assert len(written_files(output)) == (20 if options.writes else 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_after_a_full_disk(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source_dir, output = fill(tmp_path / "in", 20), tmp_path / "output"
    original = Path.write_bytes

    def full(self: Path, content: Any) -> int:
        if "007" in self.name:
            original(self, content[:50])
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return original(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match=r"^cannot write .*007.jpg \(No space left on device\); name another --output$"):
            write(source_dir, output, workers=workers)
    assert not list(output.glob("*/*007*"))
    write(source_dir, output)
    assert len(written_files(output)) == 20


def test_killed_worker_is_an_error_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source_dir, output = fill(tmp_path / "in", 20), tmp_path / "output"
    with monkeypatch.context() as patch:
        patch.setattr(ResizeOptions, "encode", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(UserError, match=r"a process was killed.* fewer --workers"):
            write(source_dir, output, workers=1)
    assert not written_files(output)
    write(source_dir, output)
    assert len(written_files(output)) == 20
