import json
import re
from pathlib import Path

import forked
import pytest
import torch

from lit_inpaint import cost
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.papers import LPINet, WaveMix
from lit_inpaint.profiling import epoch_time, latency
from lit_inpaint.profiling.published_differences import NOTES


def rows_of(argv: list[str], tmp_path: Path) -> list[dict[str, object]]:
    output = tmp_path / "cost.json"
    assert cost.main([*argv, "--output", str(output)]) == 0
    rows: list[dict[str, object]] = json.loads(output.read_text())["rows"]
    return rows


def test_all_papers_with_their_published_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(["--size", "32", "--runs", "2", "--bf16", "never"], tmp_path)
    found = {(row["method"], row["metric"]): row for row in rows}
    assert found["LPI", "parameters"]["value"] == 1_764_707
    assert found["LPI-Large", "parameters"]["value"] == 5_757_035
    assert found["LPI", "parameters"]["published"] == 1.67
    assert found["LPI-Large", "weights_file"]["published"] == 22.0
    assert abs(float(str(found["LPI-Large", "weights_file"]["value"])) / 2**20 - 22.0) < 0.05
    assert found["LPI", "latency"]["n"] == 2
    assert float(str(found["LPI", "latency"]["value"])) > 0
    for row in rows:
        assert {"method", "protocol", "bucket", "metric", "value", "unit", "n"} <= row.keys()
    assert found["SPDResBlk-MSSA-BP", "parameters"]["value"] == 42_930_186
    assert (found["Custom CNN", "parameters"]["published"], found["Custom CNN", "parameters"]["published_unit"]) == (12, "10^6")
    assert (found["PConv", "parameters"]["published"], found["PConv", "weights_file"]["published"]) == (31.34, 393)
    assert (
        "lightweight" in str(found["PConv", "parameters"]["published_in"]).lower()
    )  # LPI-Net's table; PConv's own has no costs
    assert (found["WaveMix", "throughput"]["published"], found["WaveMix", "throughput"]["batch"]) == (137, 2)
    for part in ("encoder", "attention", "decoder", "discriminator", "total"):
        for variant in ("PEPSI", "PEPSI depthwise-separable"):
            assert found[variant, part]["value"] == found[variant, part]["published"], (variant, part)
    assert len(found) == len(rows), "one row for each metric of a network"
    wrong = set()
    for (method, metric), row in found.items():
        if metric == "parameters" and "published" in row:
            printed_as = str(row["published"])
            unit = 2**20 if row["published_unit"] == "2^20" else 10**6
            if f"{float(str(row['value'])) / unit:.{len(printed_as.partition('.')[2])}f}" != printed_as:
                wrong.add(method)
    assert wrong == {"CA", "EdgeConnect", "LPI", "LPI-Large", "WaveMix"}
    assert found["EdgeConnect", "edge"]["value"] == 10_761_089  # 10.26 x 2^20
    assert wrong <= NOTES.keys() <= {row["method"] for row in rows}
    printed = capsys.readouterr().out
    for words in ("1.683", "1.67 Mi", "42.93 M", "12 M", "22.0 MiB", "2,937,184", "192 images/s", "10.26 Mi (x2)"):
        assert words in printed, words
    assert "WaveMix (published)" not in printed
    assert "EdgeConnect (published)" not in printed
    for method, parameters, kind in (
        ("CA", "2.9 Mi (x2)", "Two-stage GAN"),
        ("EdgeConnect", "10.26 Mi (x2)", "Two-stage GAN"),
        ("GLCIC", "5.8 Mi", "Two-Discriminator GAN"),
    ):
        line = next(line for line in printed.splitlines() if f"│ {method} " in line)
        assert [cell.strip() for cell in line.split("│")][3:10:6] == [parameters, kind], line
    assert " ".join(NOTES["LPI"].split()[:6]) in printed
    if not torch.cuda.is_available():
        assert "Not measured: no GPU here" in printed


def test_without_timing_and_with_bf16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(["--papers", "LPI", "--size", "16", "--no_timing", "--bf16", "always"], tmp_path)
    metrics = {row["metric"] for row in rows}
    assert {"peak_memory", "peak_memory_bf16"} <= metrics
    assert not {metric for metric in metrics if str(metric).startswith(("latency", "throughput"))}
    assert "images/s" not in capsys.readouterr().out
    rows = rows_of(["--papers", "LPI", "--size", "16", "--runs", "3", "--bf16", "always", "--batch_size", "3"], tmp_path)
    found = {row["metric"]: row for row in rows}
    assert (found["throughput_bf16"]["batch"], found["throughput_bf16"]["precision"]) == (3, "bf16")
    assert found["latency_bf16"]["n"] == found["latency"]["n"] == 3


def test_too_little_memory_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Networks that do not fit are listed; all others are measured."""
    original, max_batch = latency._time_forward, 2

    def time_forward(model: LPINet, example: tuple[torch.Tensor, torch.Tensor], kind: latency.DevicePrecision) -> float:
        if len(model.generator.state_dict()) > small and len(example[0]) > max_batch:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(model, example, kind)

    small = len(LPINet(blocks=1).generator.state_dict())
    monkeypatch.setattr(latency, "_time_forward", time_forward)
    argv = ["--papers", "LPINet", "--size", "16", "--runs", "1", "--bf16", "never", "--batch_size", "3"]
    rows = rows_of(argv, tmp_path)
    assert [row["method"] for row in rows if row["metric"] == "latency"] == ["LPI", "LPI-Large"]
    assert [row["method"] for row in rows if row["metric"] == "throughput"] == ["LPI"]
    printed = capsys.readouterr().out
    assert re.search(
        r"Not measured: LPI-Large with 3 images in float32 on the .PU, out of memory; give a smaller --batch_size", printed
    )
    max_batch = 0
    with pytest.raises(UserError, match=r"out of memory on the GPU at 16x16; give a smaller --size"):
        cost.main(argv)


@pytest.mark.parametrize(("name", "methods"), [("LPINet", ["LPI", "LPI-Large"]), ("LPI-Large", ["LPI-Large"])])
def test_papers_by_class_and_by_variant(name: str, methods: list[str], tmp_path: Path) -> None:
    rows = rows_of(["--papers", name, "--size", "16", "--runs", "1"], tmp_path)
    assert list(dict.fromkeys(row["method"] for row in rows)) == methods


def test_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    rows = rows_of(["--checkpoint", str(checkpoint), "--size", "16", "--runs", "1"], tmp_path)
    found = {row["metric"]: row for row in rows}
    assert {row["method"] for row in rows} == {"LPINet"}
    assert found["checkpoint_file"]["value"] == checkpoint.stat().st_size
    assert found["parameters"]["value"] == 1_764_707
    assert found["parameters"]["published"] == 1.67


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--papers", "LPINett"], "LPINett.*LPINet"),
        (["--size", "0"], "--size.*at least 1"),
        (["--runs", "many"], "--runs.*many"),
        (["--batch_size", "1"], "--batch_size.*at least 2"),
        (["--bf16", "yes"], "--bf16.*yes"),
        (["--paper", "LPI"], "--paper"),
        (["--output", "cost.txt"], r"\.json"),
        (["--checkpoint", "nowhere.ckpt"], "nowhere.ckpt"),
    ],
)
def test_mistakes(argv: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cost.main(argv)


def test_as_a_command() -> None:
    done = forked.run(["-m", "lit_inpaint.cost", "--papers", "LPY"])
    assert done.returncode == 2
    assert done.stderr.startswith("error: no paper or variant 'LPY'")
    assert len(done.stderr.splitlines()) == 1


def test_seconds_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Step time multiplied by whole batches, beside the published time; only with `--epoch`."""
    calls = []

    def step(model: Inpainter, *arguments: object) -> latency.Timing:
        calls.append((type(model).__name__, *arguments[:-1]))
        return latency.Timing(0.25, 3)

    monkeypatch.setattr(epoch_time, "benchmark_train_step", step)
    argv = ["--papers", "WaveMix", "LPI", "--no_timing", "--bf16", "never", "--runs", "7", "--seconds", "5", "--epoch"]
    rows = {row["method"]: row for row in rows_of([*argv, "--size", "32"], tmp_path) if row["metric"] == "epoch"}
    assert calls == [("WaveMix", 32, 40, 2000, 7, 5), ("LPINet", 32, 40, 2000, 7, 5)]
    wavemix, lpi = rows["WaveMix"], rows["LPI"]
    assert (wavemix["value"], wavemix["unit"], wavemix["n"], wavemix["images"], wavemix["batch"]) == (500.0, "s", 3, 80_000, 40)
    assert (wavemix["published"], wavemix["published_unit"]) == (1387, "s")
    assert "published" not in lpi
    printed = " ".join(capsys.readouterr().out.split())  # the title is wrapped to the table's width
    for words in ("80,000 images of 32x32 in", "batches of 40", "1387 s", "on other hardware"):
        assert words in printed, words
    rows = {row["method"]: row for row in rows_of(["--papers", "LaMa", *argv[3:], "--size", "32"], tmp_path)}
    assert "LaMa" in rows
    assert "4861 s" in capsys.readouterr().out
    calls.clear()
    rows_of([*argv, "--epoch_images", "1007", "--epoch_batch", "10", "--size", "16"], tmp_path)
    assert calls[0][1:4] == (16, 10, 100)
    calls.clear()
    sizes = {row["metric"]: row["size"] for row in rows_of(["--papers", "UNet", *argv[3:]], tmp_path)}
    assert sizes["macs"] == sizes["peak_memory"] == sizes["epoch"] == calls[0][1] == 96  # comparable with the table's speeds
    calls.clear()
    capsys.readouterr()
    assert not [row for row in rows_of([*argv[:-1], "--size", "16"], tmp_path) if row["metric"] == "epoch"]
    assert "an epoch" not in capsys.readouterr().out
    assert not calls


def test_networks_that_cannot_be_trained_are_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(model: Inpainter, *arguments: object) -> latency.Timing:
        raise torch.OutOfMemoryError("CUDA out of memory") if isinstance(model, WaveMix) else UserError("no weights")

    monkeypatch.setattr(epoch_time, "benchmark_train_step", refuse)
    argv = ["--papers", "WaveMix", "LPINet", "--no_timing", "--bf16", "never", "--size", "16", "--epoch"]
    assert not [row for row in rows_of(argv, tmp_path) if row["metric"] == "epoch"]
    printed = capsys.readouterr().out
    assert "Not measured: an epoch of WaveMix: out of memory; give a smaller --epoch_batch" in printed
    assert "Not measured: an epoch of LPI, LPI-Large: no weights" in printed


def test_epoch_options_without_epoch() -> None:
    with pytest.raises(UserError, match="--epoch_images and --epoch_batch belong to --epoch"):
        cost.main(["--papers", "UNet", "--epoch_images", "4"])
