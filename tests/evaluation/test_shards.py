"""`evaluate` in two processes of torchrun or srun: the numbers of one process, one table, one line for a mistake."""

import json
import os
import socket
from pathlib import Path
from subprocess import CompletedProcess

import forked
import pytest
from fake_slurm import step
from tiny_pair import LAUNCH_VARIABLES

from lit_inpaint import evaluate
from lit_inpaint.evaluation.shards import Shard

SET_METRIC = """
from tiny_features import TinyFeatures
from lit_inpaint.metrics import FID

class TinyFID(FID):
    def __init__(self):
        super().__init__(TinyFeatures())
"""


def torchrun(rank: int, port: str) -> dict[str, str]:
    """The variables that torchrun sets in one of two processes."""
    values = {"TORCHELASTIC_RUN_ID": "x", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": "0"}
    values |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
    return values | {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def run_two(folder: Path, launcher: str, *options: str) -> list[CompletedProcess[str]]:
    """Run `evaluate` in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    clean = {name: value for name, value in os.environ.items() if name not in LAUNCH_VARIABLES}
    clean |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    command, started = ["-m", "lit_inpaint.evaluate", *options], []
    for rank in range(2):
        variables = torchrun(rank, port) if launcher == "torchrun" else {**step(rank, 2), "MASTER_PORT": port}
        files = folder / f"out{rank}", folder / f"err{rank}"
        for file in files:
            file.write_text("")
        started.append(forked.start(command, *files, clean | variables, folder))
    return [CompletedProcess(command, one.wait(), _printed(one.stdout), one.stderr.read_text()) for one in started]


def _printed(file: Path) -> str:
    """Return what a process has printed, without the lines by which PyTorch 2.8 reports its connections."""
    return "".join(line for line in file.read_text().splitlines(keepends=True) if not line.startswith("[Gloo] Rank"))


def test_all_samples_of_an_image_are_in_one_process() -> None:
    parts = [Shard(rank, 3).numbers(range(10)) for rank in range(3)]
    assert sorted(number for part in parts for number in part) == list(range(10))
    assert [len(part) for part in parts] == [4, 3, 3]
    assert list(Shard().numbers(range(10), 4)) == [4, 5, 6, 7, 8, 9]


def test_two_processes_write_what_one_writes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores of each sample and the manifest to the last byte; a metric of the whole set but for the order of its sums."""
    (tmp_path / "set_metric.py").write_text(SET_METRIC)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--checkpoint", str(checkpoint), "--baselines", "mean", "--metrics", "set_metric.TinyFID"]
    options += ["--data.val_crops", "2", "--data.batch_size", "3", "--output"]
    assert evaluate.main([*options, str(tmp_path / "one.json")]) == 0
    one = capsys.readouterr().out
    first, second = run_two(tmp_path, "torchrun", *options, str(tmp_path / "two.json"))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (second.stdout, second.stderr) == ("", "")
    assert "2 processes share the samples" in first.stdout
    assert first.stdout.splitlines()[-2:] == [line.replace("one.", "two.") for line in one.splitlines()[-2:]]
    for name in ("images.csv", "manifest.csv"):
        assert (tmp_path / f"two.{name}").read_text() == (tmp_path / f"one.{name}").read_text()
    ours, theirs = (json.loads((tmp_path / f"{name}.json").read_text())["rows"] for name in ("one", "two"))
    assert len({row["metric"] for row in ours}) == 4
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert {**a, "value": 0} == {**b, "value": 0}
        assert a["value"] == (None if b["value"] is None else pytest.approx(b["value"], rel=1e-9))


def test_a_mistake_is_one_line_of_the_first_process(tmp_path: Path) -> None:
    first, second = run_two(tmp_path, "srun", "--baselines", "mean", "--data.root", "nowhere")
    assert (first.returncode, second.returncode) == (2, 2)
    assert first.stderr.count("\n") == 1
    assert first.stderr.startswith("error: ")
    assert (second.stdout, second.stderr) == ("", "")
