"""`fit` on two processes of one machine, as Lightning starts them."""

import json
import subprocess
import sys
from pathlib import Path

from tiny_runs import TINY, content, rows


def test_a_whole_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--run_dir", str(folder), "--resume", "never"]
    options += [
        "--trainer.max_steps",
        "4",
        "--trainer.val_check_interval",
        "2",
        "--data.batch_size",
        "1",
        "--data.val_crops",
        "3",
    ]
    done = subprocess.run([sys.executable, "-m", "lit_inpaint.fit", *TINY, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "sync_dist" not in done.stderr
    assert done.stdout.count("Run folder: ") == 2  # at the start and at the end, from the first process alone
    assert content(folder)["global_step"] == 4
    found = rows(folder)
    assert [int(row["step"]) for row in found if "train/l1" in row] == [1, 2, 3, 4]
    assert [int(row["step"]) for row in found if "val/psnr" in row] == [2, 4]
    (row,) = [
        row
        for row in json.loads((folder / "table.json").read_text())["rows"]
        if row["bucket"] == "all" and row["metric"] == "psnr"
    ]
    assert row["n"] == 6  # two photographs in three crops: all of them, though each process validated on half
    assert abs(row["value"] - float(found[-1]["val/psnr"])) < 1e-3
