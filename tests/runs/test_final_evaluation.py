"""Final evaluation of a run: its protocol is a setting, and its table has all samples."""

import csv
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from lit_inpaint import fit
from lit_inpaint.errors import UserError

OPTIONS = ["--wandb.mode", "disabled", "--data.size", "64", "--data.batch_size", "2", "--data.val_crops", "1"]
OPTIONS += ["--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false", "--num_samples", "0"]
SMALL_HOLE = ["--data.val_masks", "[{class_path: lit_inpaint.masks.Center, init_args: {size: 16}}]"]


@pytest.fixture(autouse=True)
def no_run_directory_of_an_earlier_run() -> None:
    os.environ.pop("LIT_INPAINT_RUN_DIR", None)


def test_samples_outside_all_buckets_are_in_the_table(
    tiny_experiment: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hole of 6.25 % is in no bucket of the default protocol."""
    run = tmp_path / "run"
    assert fit.main([*tiny_experiment, *OPTIONS, *SMALL_HOLE, "--run_dir", str(run), "--baselines", "true"]) == 0
    printed = capsys.readouterr().out
    lines = [line.replace("┃", "│").split("│") for line in printed.splitlines() if line.startswith("│")]
    counts = {cells[1].strip(): cells[2].strip() for cells in lines if cells[1].strip()}
    assert counts == {"10-20%": "0", "20-30%": "0", "30-40%": "0", "40-50%": "0", "outside": "2", "all": "2"}
    assert "TinyGAN against Mean fill by PSNR: " in printed
    assert "10-20%" not in "".join(line for line in printed.splitlines() if " against " in line)
    rows = json.loads((run / "final_evaluation.json").read_text())["rows"]
    assert {row["bucket"]: row["n"] for row in rows}["outside"] == 2


def test_the_protocol_is_a_setting(tiny_experiment: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = [*OPTIONS, *SMALL_HOLE, "--trainer.val_check_interval", "1", "--protocol", "pepsi"]
    assert fit.main([*tiny_experiment, *options, "--run_dir", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "Protocol pepsi: PEPSI, the public code's evaluation" in printed
    assert "validation set, 64 px" in printed
    rows = json.loads((run / "final_evaluation.json").read_text())["rows"]
    assert {(row["protocol"], row["bucket"], row["n"]) for row in rows} == {("pepsi", "all", 2)}
    assert {row["metric"] for row in rows} == {"psnr_local", "psnr", "ssim_luma"}
    assert "protocol: pepsi" in (run / "config.yaml").read_text()
    with (run / "metrics.csv").open(newline="") as file:
        logged = {name for row in csv.DictReader(file) for name in row if name.startswith("val/")}
    assert logged == {"val/psnr_local", "val/psnr", "val/ssim_luma"}, "the validation in training has the same metrics"
    assert "step 1: PSNR_LOCAL " in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "pepsy"], r"^protocol: there is no protocol 'pepsy'; there are lpi, .*; did you mean 'pepsi'\?$"),
        (["--data.size", "8"], "^protocol lpi: ssim needs images of at least 11x11 pixels, these are 8x8; set --data.size 11"),
        (["--protocol", "edgeconnect", "--data.size", "50"], "ssim_gray_51 needs images of at least 51x51 pixels"),
        (
            ["--best_metric", "val/pnsr"],
            "^best_metric val/pnsr is no metric .*; did you mean 'val/psnr'.* set best_mode to max or",
        ),
        (["--best_mode", "upwards"], "^best_mode: expected one of .*'max', 'min'.*, got 'upwards'"),
    ],
)
def test_mistakes_leave_nothing_behind(options: list[str], message: str, tiny_experiment: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        fit.main([*tiny_experiment, *OPTIONS, "--run_dir", str(tmp_path / "run"), *options])
    assert not list(tmp_path.iterdir())


def test_the_split_is_in_the_table(tiny_experiment: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without the official layout, and without validation images."""
    for name in ("train/0.png", "train/1.png", "test/2.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "images" / name)
    argv = [*tiny_experiment, "--data.class_path", "FFHQ", *OPTIONS, "--data.root", str(tmp_path / "images")]
    with pytest.warns(UserWarning, match="no validation images beside the 1 test images"):
        assert fit.main([*argv, "--run_dir", str(tmp_path / "run"), "--data.workers", "0"]) == 0
    line = "Images of FFHQ: no images1024x1024 or other copy of all 70,000 images, so not the official split: val is test"
    assert " ".join(capsys.readouterr().out.split()).count(line) == 1
    assert json.loads((tmp_path / "run" / "final_evaluation.json").read_text())["images"] == line.removeprefix("Images of ") + (
        ", so best.ckpt is chosen by the test images"
    )
