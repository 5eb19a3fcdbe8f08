"""What W&B has on disk, read back from its own file, since no network is there to ask."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from tiny_runs import Killed, at, kill, run
from wandb.proto.wandb_internal_pb2 import Record

from lit_inpaint.callbacks import Wandb
from lit_inpaint.types import UserError

BLOCK = 32 * 1024


def records(path: Path) -> Iterator[Record]:
    """The records of a `.wandb` file: a 7-byte header, then LevelDB log blocks of (crc32, length, type, bytes)."""
    data = path.read_bytes()
    place, whole = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:  # no room for a header: padding
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def history(path: Path) -> list[dict[str, Any]]:
    """One dictionary for each row that was logged; nested keys are joined by `/`."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records(path)
        if record.HasField("history")
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after its first validation, and went on."""
    path = tmp_path_factory.mktemp("offline") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_API_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(path / "none"))
        with at(5, "training_step", kill), pytest.raises(Killed):
            run(path, "--wandb.mode", "auto", "--wandb.tags", "[tiny]")
        assert run(path, "--wandb.mode", "auto", "--wandb.tags", "[tiny]") == 0
        assert "WANDB_MODE" not in os.environ  # or the next run in this process would be offline too
    assert wandb.run is None
    return path


def files(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))


def test_one_run_over_an_interruption(folder: Path) -> None:
    run_id = (folder / "wandb" / "run_id.txt").read_text().strip()
    starts = [next(r.run for r in records(path) if r.HasField("run")) for path in files(folder)]
    assert [start.run_id for start in starts] == [run_id, run_id]
    assert {start.project for start in starts} == {"lit_inpaint"}
    assert {start.display_name for start in starts} == {"lpi_demo/run"}
    assert {tuple(start.tags) for start in starts} == {("tiny",)}


def test_the_whole_configuration(folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for path in files(folder):
        start = next(r.run for r in records(path) if r.HasField("run"))
        found = {item.key: json.loads(item.value_json) for item in start.config.update}
        assert {key: found[key] for key in config} == config


def test_images_and_numbers_share_a_step(folder: Path) -> None:
    parts = [history(path) for path in files(folder)]
    for part, steps, validations in zip(parts, ([1, 2, 3, 4, 5], [5, 6, 7, 8]), ([4], [8]), strict=True):
        assert [row["trainer/global_step"] for row in part if "train/l1" in row] == steps
        for key in ("val/psnr", "val/ssim", "val/l1", "val/20-30%/psnr", "val/samples/filenames"):
            assert [row["trainer/global_step"] for row in part if key in row] == validations, key
    last = {key for part in parts for row in part for key in row}
    assert {"train/generator", "train/discriminator", "train/lr_generator", "train/images_per_second"} <= last
    (name,) = next(row["val/samples/filenames"] for row in parts[0] if "val/samples/filenames" in row)
    assert (files(folder)[0].parent / "files" / name).is_file()


@pytest.mark.parametrize(
    ("mode", "variable", "key", "resolved"),
    [
        ("auto", None, None, "offline"),
        ("auto", None, "k" * 40, "online"),
        ("auto", "disabled", "k" * 40, "disabled"),
        ("auto", "dryrun", "k" * 40, "offline"),
        ("offline", "online", "k" * 40, "offline"),
        ("disabled", "online", "k" * 40, "disabled"),
    ],
)
def test_modes(
    mode: Any, variable: str | None, key: str | None, resolved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name, value in (("WANDB_MODE", variable), ("WANDB_API_KEY", key)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    logger = Wandb(mode=mode).logger(tmp_path, "name", {})
    assert (logger is None) == (resolved == "disabled")
    if logger is not None:
        assert logger._wandb_init["mode"] == resolved
    assert logger is not None or not (tmp_path / "wandb").exists()


def test_online_never_asks_for_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match="no W&B key is known here"):
        Wandb(mode="online").logger(tmp_path, "name", {})
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password abc\n")
    assert Wandb(mode="online").logger(tmp_path, "name", {}) is not None
