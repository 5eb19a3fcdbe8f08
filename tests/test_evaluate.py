import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lit_inpaint import evaluate
from lit_inpaint.checkpoint import read_checkpoint
from lit_inpaint.types import UserError

QUICK = ["--data.val_crops", "1", "--data.batch_size", "4"]


def run(checkpoint: Path, tmp_path: Path, *options: str) -> dict[str, Any]:
    output = tmp_path / "found" / "scores.json"
    assert evaluate.main(["--checkpoint", str(checkpoint), *QUICK, "--output", str(output), *options]) == 0
    assert sorted(path.name for path in output.parent.iterdir()) == ["scores.json", "scores.manifest.csv"]
    content: dict[str, Any] = json.loads(output.read_text())
    digest = hashlib.sha256(output.with_suffix(".manifest.csv").read_bytes()).hexdigest()
    assert {row["manifest"] for row in content["rows"]} == {digest}
    return content


def test_on_the_data_it_was_trained_with(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = run(checkpoint, tmp_path, "--baselines")
    rows = content["rows"]
    for row in rows:
        assert {"method", "protocol", "bucket", "metric", "value", "n"} <= row.keys()
        assert row["protocol"] == "lpi"
    methods = list(dict.fromkeys(row["method"] for row in rows))
    assert methods == ["LPINet", "Mean fill", "OpenCV Telea", "OpenCV Navier-Stokes"]
    counts = {row["bucket"]: row["n"] for row in rows}
    assert counts == {"10-20%": 2, "20-30%": 2, "30-40%": 2, "40-50%": 2, "outside": 0, "all": 8}
    assert {row.get("checkpoint") for row in rows if row["method"] == "LPINet"} == {str(checkpoint)}
    assert all("checkpoint" not in row for row in rows if row["method"] != "LPINet")
    assert content["methods"]["LPINet"] | {"checkpoint": ""} == {
        "checkpoint": "",
        "paper": "LPINet",
        "variant": "LPI",
        "step": 2,
        "seed": 0,
        "parameters": 1_764_707,
    }
    assert content["data"]["init_args"]["size"] == 32
    printed = capsys.readouterr()
    assert "LPINet against Mean fill" in printed.out
    assert "warning" not in printed.err


def test_the_same_numbers_as_the_run_itself(checkpoint: Path, tmp_path: Path) -> None:
    """`fit` closes with the same table, of the same samples; of the demo, test is val."""
    evaluated = run(checkpoint, tmp_path)["rows"]
    ours = {(row["bucket"], row["metric"]): row["value"] for row in evaluated}
    rows = json.loads((checkpoint.parents[1] / "table.json").read_text())["rows"]
    assert rows[0]["manifest"] == evaluated[0]["manifest"]
    assert hashlib.sha256((checkpoint.parents[1] / "val_manifest.csv").read_bytes()).hexdigest() == rows[0]["manifest"]
    theirs = {(row["bucket"], row["metric"]): row["value"] for row in rows}
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], abs=1e-6) if value is not None else theirs[key] is None


def test_both_splits_can_be_named(checkpoint: Path, tmp_path: Path) -> None:
    assert run(checkpoint, tmp_path, "--split", "val")["rows"] == run(checkpoint, tmp_path, "--split", "test")["rows"]


def test_other_holes_are_pointed_out(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = run(checkpoint, tmp_path, "--data.val_masks", "[{class_path: lit_inpaint.masks.Centre}]")
    counts = {row["bucket"]: row["n"] for row in content["rows"]}
    assert counts["20-30%"] == counts["all"] == 2
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "val_masks" in warnings[0]
    assert "Centre" in warnings[0]
    run(checkpoint, tmp_path, "--data.masks", "{class_path: lit_inpaint.masks.Centre}")
    assert "data.val_masks" in capsys.readouterr().err


def test_another_experiment_and_several_checkpoints(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "other" / "copy.ckpt"
    copy.parent.mkdir()
    shutil.copy(checkpoint, copy)
    output = tmp_path / "scores.json"
    argv = ["--checkpoint", str(checkpoint), str(copy), "--experiment", "lpi_demo", *QUICK, "--data.val_images", "1"]
    assert evaluate.main([*argv, "--split", "val", "--output", str(output)]) == 0
    content = json.loads(output.read_text())
    assert list(content["methods"]) == ["LPINet tiny", "LPINet other"]
    assert content["data"]["init_args"]["size"] == 64
    assert {row["n"] for row in content["rows"] if row["bucket"] == "all"} == {4}
    assert capsys.readouterr().err.count("data.size = 32, evaluated here with 64") == 2


def test_without_a_recorded_configuration(checkpoint: Path, tmp_path: Path) -> None:
    content = read_checkpoint(checkpoint)
    del content["lit_inpaint"]["config"]
    bare = tmp_path / "bare.ckpt"
    torch.save(content, bare)
    with pytest.raises(UserError, match=r"bare\.ckpt.*--experiment"):
        evaluate.main(["--checkpoint", str(bare)])
    assert evaluate.main(["--checkpoint", str(bare), "--experiment", "lpi_demo", *QUICK, "--data.size", "16"]) == 0


def test_broken_and_foreign_files(checkpoint: Path, tmp_path: Path) -> None:
    truncated, foreign = tmp_path / "truncated.ckpt", tmp_path / "foreign.ckpt"
    truncated.write_bytes(checkpoint.read_bytes()[:100_000])
    torch.save({"state_dict": {}}, foreign)
    output = tmp_path / "scores.json"
    for path, message in (
        (truncated, "truncated"),
        (foreign, "not a checkpoint of lit_inpaint"),
        (tmp_path / "x", "no checkpoint"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate.main(["--checkpoint", str(path), "--output", str(output)])
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "nobodys"], "no protocol 'nobodys'; there is: lpi"),
        (["--split", "train"], "--split.*train"),
        (["--data.sise", "3"], "data.sise.*size"),
        (["--data.size"], "needs a value"),
        (["--model.blocks", "4"], "--model.blocks"),
        (["--baseline"], "--baseline; did you mean --baselines"),
        (["--experiment", "lpi_demmo"], "lpi_demo"),
        (["--output", "scores.txt"], r"\.json"),
    ],
)
def test_mistakes(options: list[str], message: str, checkpoint: Path) -> None:
    with pytest.raises(UserError, match=message):
        evaluate.main(["--checkpoint", str(checkpoint), *options])


def test_a_place_that_cannot_be_written_is_met_first(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.json").mkdir()
    for output, message in (("file/scores.json", "is a file, not a folder"), ("folder.json", "is a folder")):
        with pytest.raises(UserError, match=message):
            evaluate.main(["--checkpoint", "unread.ckpt", "--output", str(tmp_path / output)])
    with pytest.raises(UserError, match="twice"):
        evaluate.main(["--checkpoint", str(checkpoint), str(checkpoint)])


def test_as_a_command(tmp_path: Path) -> None:
    argv = ["--checkpoint", str(tmp_path / "none.ckpt")]
    done = subprocess.run([sys.executable, "-m", "lit_inpaint.evaluate", *argv], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no checkpoint at")
    assert len(done.stderr.splitlines()) == 1


def test_a_grid_of_what_each_method_makes(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = tmp_path / "new" / "grid.png"
    argv = ["--checkpoint", str(checkpoint), *QUICK, "--data.batch_size", "3", "--baselines", "--grid", str(grid)]
    assert evaluate.main(argv) == 0
    assert f"Drawn in {grid}" in capsys.readouterr().out
    with Image.open(grid) as picture:
        width, height = picture.size
    assert width > 6 * 160
    assert height > 8 * 160
    with pytest.raises(UserError, match=r"--grid .*grid.jpg must end with \.png"):
        evaluate.main(["--checkpoint", str(checkpoint), "--grid", str(tmp_path / "grid.jpg")])
