import csv
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lit_inpaint import evaluate, metrics
from lit_inpaint.data.rng import RngStream, generator
from lit_inpaint.engine.any_size import complete_subsampled
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation import partial_results
from lit_inpaint.evaluation.baselines import telea
from lit_inpaint.masks import Boxes, CrossedStrokes
from lit_inpaint.metrics.extra_metrics import ExtraMetrics
from lit_inpaint.runs.checkpoint_file import load, read_checkpoint

QUICK = ["--data.val_crops", "1", "--data.batch_size", "4"]


def run(checkpoint: Path, tmp_path: Path, *options: str) -> dict[str, Any]:
    output = tmp_path / "found" / "scores.json"
    assert evaluate.main(["--checkpoint", str(checkpoint), *QUICK, "--output", str(output), *options]) == 0
    assert sorted(path.name for path in output.parent.iterdir()) == ["scores.images.csv", "scores.json", "scores.manifest.csv"]
    content: dict[str, Any] = json.loads(output.read_text())
    digest = hashlib.sha256(output.with_suffix(".manifest.csv").read_bytes()).hexdigest()
    assert {row["manifest"] for row in content["rows"]} == {digest}
    return content


def test_on_the_data_of_training(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert "†" not in printed.out
    assert "Published but not shown beside these rows: lpi_places2, of Places2, test; lpi_celeba, of CelebA" in printed.out
    assert f"SHA-256 of the list of samples: {rows[0]['manifest'][:12]}" in printed.out
    assert content["published"] == []
    assert content["protocol"]["name"] == "lpi"
    assert len(content["masks"]) == 4
    assert {(pair["method"], pair["other"]) for pair in content["pairs"]} == {("LPINet", method) for method in methods[1:]}
    assert "LPINet - Mean fill, PSNR sample by sample: 10-20%: " in printed.out
    assert "warning" not in printed.err


def test_the_same_numbers_as_the_final_evaluation(checkpoint: Path, tmp_path: Path) -> None:
    """`fit` closes with the same table, of the same samples; of the demo, test is val."""
    evaluated = run(checkpoint, tmp_path)["rows"]
    ours = {(row["bucket"], row["metric"]): row["value"] for row in evaluated}
    rows = json.loads((checkpoint.parents[1] / "final_evaluation.json").read_text())["rows"]
    assert rows[0]["manifest"] == evaluated[0]["manifest"]
    assert hashlib.sha256((checkpoint.parents[1] / "val_manifest.csv").read_bytes()).hexdigest() == rows[0]["manifest"]
    # The demo compares with the network of the package.
    assert {row["method"] for row in rows} == {"LPINet", "ResidualUNet, shipped"}
    theirs = {(row["bucket"], row["metric"]): row["value"] for row in rows if row["method"] == "LPINet"}
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], abs=1e-6) if value is not None else theirs[key] is None


def test_scores_of_single_images_are_written_beside(checkpoint: Path, tmp_path: Path) -> None:
    rows = run(checkpoint, tmp_path, "--baselines", "mean")["rows"]
    with (tmp_path / "found" / "scores.images.csv").open(newline="", encoding="utf-8") as file:
        images = list(csv.DictReader(file))
    assert len(images) == 8
    assert len({image["name"] for image in images}) == 8
    for row in rows:
        chosen = [image for image in images if row["bucket"] in ("all", image["bucket"])]
        values = [float(image[f"{row['method']} {row['metric']}"]) for image in chosen]
        assert row["value"] == (pytest.approx(sum(values) / len(values)) if values else None)
        assert row["n"] == len(values)
    assert all(0.1 <= float(image["mask_ratio"]) < 0.5 for image in images)


def test_every_format_at_once(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "other" / "copy.ckpt"
    copy.parent.mkdir()
    shutil.copy(checkpoint, copy)
    outputs = [str(tmp_path / "out" / f"t.{suffix}") for suffix in ("tex", "md", "csv", "json")]
    argv = ["--checkpoint", str(checkpoint), str(copy), *QUICK, "--output", *outputs, "--published", "lpi_celeba"]
    assert evaluate.main([*argv, "--baselines", "mean"]) == 0
    assert "LPINet tiny - LPINet other, PSNR sample by sample: 10-20%: +0.000 dB, better on 0% of 2" in capsys.readouterr().out
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == ["t.csv", "t.images.csv", "t.json", "t.manifest.csv", "t.md", "t.tex"]
    content = json.loads((tmp_path / "out" / "t.json").read_text())
    pairs = [pair for pair in content["pairs"] if pair["other"] == "LPINet other"]
    assert {pair["method"] for pair in pairs} == {"LPINet tiny"}
    assert {pair["tie_rate"] for pair in pairs if pair["n"]} == {1.0}
    assert {(pair["method"], pair["other"]) for pair in content["pairs"] if pair not in pairs} == {
        ("LPINet tiny", "Mean fill"),
        ("LPINet other", "Mean fill"),
    }
    with (tmp_path / "out" / "t.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    ours, theirs = ([row for row in table if bool(row["source"]) == published] for published in (False, True))
    assert [row["value"] for row in ours] == ["" if row["value"] is None else str(row["value"]) for row in content["rows"]]
    assert len(theirs) == len(content["published"]) == 5 * 4 * 3
    assert (
        "published, but of other images (CelebA, test), another size (256 px), other masks"
        in (tmp_path / "out" / "t.md").read_text()
    )
    assert all(row["manifest"] and row["masks"] and row["protocol"] == "lpi" for row in ours)
    for name in ("t.md", "t.tex"):
        text = (tmp_path / "out" / name).read_text()
        assert content["rows"][0]["manifest"][:12] in text
        assert "LPI-Large" in text
        assert "LPINet tiny" in text


@pytest.mark.parametrize("protocol", ["deepgin", "wavemix", "pepsi"])
def test_other_protocols(checkpoint: Path, tmp_path: Path, protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(checkpoint, tmp_path, "--protocol", protocol, "--published", "none", "--data.size", "32")["rows"]
    assert {(row["protocol"], row["bucket"], row["n"]) for row in rows} == {(protocol, "all", 8)}
    printed = capsys.readouterr().out
    assert f"Protocol {protocol}: " in printed
    assert "†" not in printed


def test_the_default_protocol_is_that_of_the_experiment_or_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    content = read_checkpoint(checkpoint)
    content["lit_inpaint"]["config"]["protocol"] = "wavemix"
    torch.save(content, tmp_path / "copy.ckpt")
    assert {row["protocol"] for row in run(tmp_path / "copy.ckpt", tmp_path)["rows"]} == {"wavemix"}
    (tmp_path / "pepsi.yaml").write_text("base: lpi_demo.yaml\nprotocol: pepsi\n")
    experiment = ("--experiment", str(tmp_path / "pepsi.yaml"), "--data.size", "32")
    assert {row["protocol"] for row in run(tmp_path / "copy.ckpt", tmp_path, *experiment)["rows"]} == {"pepsi"}
    assert {row["protocol"] for row in run(tmp_path / "copy.ckpt", tmp_path, *experiment, "--protocol", "lpi")["rows"]} == {
        "lpi"
    }


def test_extra_metrics(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(checkpoint, tmp_path, "--metrics", "l1_hole", "psnr", "lpips_alex_random_weights", "--baselines", "mean")["rows"]
    values = {(row["method"], row["metric"]): row["value"] for row in rows if row["bucket"] == "all"}
    assert len(values) == 2 * 5
    assert values["LPINet", "l1_hole"] > 2 * values["LPINet", "l1"]
    assert values["LPINet", "lpips_alex_random_weights"] > 0
    assert "LPIPS_ALEX_RANDOM_WEIGHTS" in capsys.readouterr().out


def test_evaluated_metrics_are_not_reported_as_missing(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--checkpoint", str(checkpoint), *QUICK, "--data.test_images", "1", "--protocol", "deepgin", "--data.size", "32"]
    argv += ["--published", "deepgin_celebahq"]
    assert evaluate.main(argv) == 0
    printed = capsys.readouterr().out
    assert "Published but not evaluated here: fid." in printed
    assert "Published as lpips: the paper does not name its network" in printed
    monkeypatch.setattr(metrics, "load_metrics", lambda names: ExtraMetrics())  # needs no weights
    assert evaluate.main([*argv, "--metrics", "fid"]) == 0
    assert "not evaluated here" not in capsys.readouterr().out


def test_missing_weights_are_reported_before_any_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path))
    monkeypatch.setattr("lit_inpaint.runs.checkpoint_file.load_with_config", pytest.fail)
    for name in ("fid", "lpips_alex"):
        with pytest.raises(UserError, match=r"no weights at .*lit_inpaint\.fetch"):
            evaluate.main(["--checkpoint", str(checkpoint), "--metrics", name])


def test_a_nan_output_is_reported(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = read_checkpoint(checkpoint)
    for values in content["state_dict"].values():
        if values.is_floating_point():
            values.fill_(1e38)  # its sums overflow; NaN weights are refused at once
    content.pop("callbacks", None)
    broken = tmp_path / "broken.ckpt"
    torch.save(content, broken)
    found = run(broken, tmp_path, "--baselines", "mean")
    assert {row["value"] for row in found["rows"] if row["method"] == "LPINet"} == {None}
    assert {row["nan"] for row in found["rows"] if row["method"] == "LPINet"} == {0, 2, 8}
    assert all(row["value"] for row in found["rows"] if row["method"] == "Mean fill" and row["n"])
    assert "NaN" not in (tmp_path / "found" / "scores.json").read_text().replace("hold NaN", "")
    printed = capsys.readouterr().out
    assert "NaN (2)" in printed
    assert "LPINet: 8 of 8 outputs hold NaN" in printed


def test_an_interrupted_evaluation_resumes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(checkpoint, tmp_path, "--data.batch_size", "2")["rows"]
    output, calls = tmp_path / "again" / "scores.json", []
    argv = ["--checkpoint", str(checkpoint), *QUICK, "--data.batch_size", "2", "--output", str(output)]
    complete = Inpainter.complete

    def interrupted(self: Inpainter, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        calls.append(len(image))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return complete(self, image, mask)

    monkeypatch.setattr(Inpainter, "complete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate.main(argv)
    assert [path.name for path in output.parent.iterdir()] == ["scores.partial.jsonl"]
    assert evaluate.main(argv) == 0
    assert calls == [2, 2, 2, 2, 2]
    assert "Resumes after 4 samples" in capsys.readouterr().out
    assert json.loads(output.read_text())["rows"] == whole
    assert not list(output.parent.glob("*.jsonl"))


def test_partial_results_are_identified_by_the_images_too(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, keys = list[Path](), list[tuple[object, ...]]()
    monkeypatch.setattr(partial_results, "fingerprint_images", lambda source: paths.extend(source) or "fingerprint")
    monkeypatch.setattr(partial_results, "evaluation_key", lambda *arguments: keys.append(arguments) or str(len(keys)))
    run(checkpoint, tmp_path, "--baselines", "mean", "--data.test_images", "2")
    assert len(paths) == 2
    assert all(path.is_file() for path in paths)
    assert [(key[0], key[3]) for key in keys] == [(checkpoint, "fingerprint"), ("Mean fill", "fingerprint")]


def test_both_splits(checkpoint: Path, tmp_path: Path) -> None:
    assert run(checkpoint, tmp_path, "--split", "val")["rows"] == run(checkpoint, tmp_path, "--split", "test")["rows"]


def test_other_masks_are_reported(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = run(checkpoint, tmp_path, "--data.val_masks", "[{class_path: lit_inpaint.masks.Center}]")
    counts = {row["bucket"]: row["n"] for row in content["rows"]}
    assert counts["20-30%"] == counts["all"] == 2
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "val_masks" in warnings[0]
    assert "Center" in warnings[0]
    run(checkpoint, tmp_path, "--data.masks", "{class_path: lit_inpaint.masks.Center}")
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
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "data.size = 32, evaluated here with 64" in line]
    assert warning.startswith(f"warning: LPINet tiny ({checkpoint}), LPINet other ({copy}) were trained with")


def test_without_a_recorded_configuration(checkpoint: Path, tmp_path: Path) -> None:
    content = read_checkpoint(checkpoint)
    del content["lit_inpaint"]["config"]
    bare = tmp_path / "bare.ckpt"
    torch.save(content, bare)
    with pytest.raises(UserError, match=r"bare\.ckpt.*--experiment"):
        evaluate.main(["--checkpoint", str(bare)])
    assert evaluate.main(["--checkpoint", str(bare), "--experiment", "lpi_demo", *QUICK, "--data.size", "16"]) == 0


def test_broken_and_unrelated_files(checkpoint: Path, tmp_path: Path) -> None:
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
        (["--protocol", "nobodys"], "no protocol 'nobodys'; there are lpi"),
        (["--protocol", "edgeconnect"], "ssim_gray_51 needs images of at least 51x51.*--data.size 51"),
        (["--metrics", "psnr", "kidd"], "no metric 'kidd'.*did you mean 'kid'"),
        (["--baselines", "telia"], "--baselines.*'telia'.*did you mean 'telea'"),
        (["--published", "lpi_celeb"], "--published.*'lpi_celeb'.*did you mean 'lpi_celeba'"),
        (["--output", "a.json", "a.json"], "--output names a.json twice"),
        (["--output", "a.images.csv", "a.json"], r"--output a.images.csv is also the name of a file written beside a.json"),
        (["--output", "a.md", "a.manifest.csv"], r"--output a.manifest.csv is also the name of a file written beside a.md"),
        (["--output", "a.md", "a.pdf"], r"a.pdf must end with .json, .csv, .md or .tex"),
        (["--split", "train"], "--split.*train"),
        (["--data.sise", "3"], "data.sise.*size"),
        (["--data.size"], "needs a value"),
        (["--model.blocks", "4"], "--model.blocks"),
        (["--baseline"], "--baseline; did you mean '--baselines'"),
        (["--experiment", "lpi_demmo"], "lpi_demo"),
    ],
)
def test_mistakes(options: list[str], message: str, checkpoint: Path) -> None:
    with pytest.raises(UserError, match=message):
        evaluate.main(["--checkpoint", str(checkpoint), *options])


@pytest.mark.parametrize("option", ["--protocol", "--metrics", "--baselines", "--published"])
def test_a_wrong_name_is_reported_before_any_file_is_read(
    option: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_inpaint.runs.checkpoint_file.load_with_config", pytest.fail)
    with pytest.raises(UserError, match="'lpi_places'"):
        evaluate.main(["--checkpoint", str(checkpoint), option, "lpi_places"])


def test_an_output_that_cannot_be_written_is_reported_first(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.json").mkdir()
    for output, message in (("file/scores.json", "is a file, not a folder"), ("folder.json", "is a folder")):
        with pytest.raises(UserError, match=message):
            evaluate.main(["--checkpoint", "unread.ckpt", "--output", str(tmp_path / output)])
    with pytest.raises(UserError, match="twice"):
        evaluate.main(["--checkpoint", str(checkpoint), str(checkpoint)])


def test_as_a_command(tmp_path: Path) -> None:
    argv = ["--checkpoint", str(tmp_path / "none.ckpt")]
    done = forked.run(["-m", "lit_inpaint.evaluate", *argv])
    assert done.returncode == 2
    assert done.stderr.startswith("error: no checkpoint at")
    assert len(done.stderr.splitlines()) == 1


def test_a_grid_of_all_methods(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = tmp_path / "new" / "grid.png"
    argv = ["--checkpoint", str(checkpoint), *QUICK, "--data.batch_size", "3", "--baselines", "--grid", str(grid)]
    assert evaluate.main(argv) == 0
    assert f"Grid in {grid}" in capsys.readouterr().out
    with Image.open(grid) as drawn:
        width, height = drawn.size
    assert width > 6 * 160
    assert height > 8 * 160
    with pytest.raises(UserError, match=r"--grid .*grid.jpg must end with \.png"):
        evaluate.main(["--checkpoint", str(checkpoint), "--grid", str(tmp_path / "grid.jpg")])


SIZES = {"landscape": (520, 140), "odd": (61, 41), "portrait": (90, 150)}  # width x height


@pytest.mark.filterwarnings("ignore")  # with such a name, which pytest-xdist cannot send to the main process
def test_file_names_that_are_not_utf_8_keep_their_bytes(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in (b"M\xfcller.png", "Größe.png".encode()):
        Image.new("RGB", (32, 32), (len(name), 0, 0)).save(folder / "x.png")
        (folder / "x.png").rename(folder / os.fsdecode(name))
    (tmp_path / "list.txt").write_bytes(b"M\xfcller.png\n" + "Größe.png\n".encode())
    options = ["--data.class_path", "ListFile", "--data.root", str(folder), "--data.test", str(tmp_path / "list.txt")]
    outputs = [str(tmp_path / "out" / f"t.{suffix}") for suffix in ("json", "csv", "md", "tex")]
    argv = ["--checkpoint", str(checkpoint), *QUICK, *options, "--data.size", "32", "--output", *outputs]
    assert evaluate.main([*argv, "--grid", str(tmp_path / "out" / "grid.png")]) == 0
    assert b"\nM\xfcller #0," in (tmp_path / "out" / "t.images.csv").read_bytes()
    assert b"\nM\xfcller #0," in (tmp_path / "out" / "t.manifest.csv").read_bytes()


@pytest.fixture
def many_sizes(tmp_path: Path) -> list[str]:
    """Options for three test images of different sizes, under two mask sources."""
    smooth = Image.effect_noise((40, 40), 200).convert("RGB")
    for split in ("train", "val", "test"):
        (tmp_path / "tree" / split).mkdir(parents=True)
        for name, size in SIZES.items():
            smooth.resize(size, Image.Resampling.BICUBIC).save(tmp_path / "tree" / split / f"{name}.png")
    sources = "[{class_path: lit_inpaint.masks.CrossedStrokes}, {class_path: lit_inpaint.masks.Boxes}]"
    return ["--data.root", str(tmp_path / "tree"), "--data.val_masks", sources, "--published", "none"]


def test_native_sizes_against_a_loop_over_the_files(
    checkpoint: Path, tmp_path: Path, many_sizes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Sizes, masks and scores equal those of a loop over the files with scikit-image."""
    content = run(checkpoint, tmp_path, "--protocol", "deepgin", *many_sizes, "--baselines", "telea")
    assert "test images of DemoPhotos, original sizes" in capsys.readouterr().out
    with (tmp_path / "found" / "scores.images.csv").open(newline="", encoding="utf-8") as file:
        images = {image["name"]: image for image in csv.DictReader(file)}
    assert list(images) == [f"{name} #{number}" for name in SIZES for number in range(2)]
    lines = (tmp_path / "found" / "scores.manifest.csv").read_text().splitlines()
    assert [line.rpartition(",")[2] for line in lines[-6:]] == [f"{w}x{h}" for w, h in SIZES.values() for _ in range(2)]
    model, expected = load(checkpoint), dict[str, list[float]]()
    for number, label in enumerate(images):
        name = label.partition(" ")[0]
        width, height = SIZES[name]
        target = np.asarray(Image.open(tmp_path / "tree" / "test" / f"{name}.png"))
        image = torch.from_numpy(target.copy()).permute(2, 0, 1)[None].float() / 255
        mask = (CrossedStrokes(), Boxes())[number % 2]((height, width), generator(0, RngStream.EVAL_MASK, number))[None]
        assert float(images[label]["mask_ratio"]) == pytest.approx(float(mask.double().mean()))
        filled = complete_subsampled(model.complete, image, mask, 256) if width > 256 else model.complete(image, mask)
        for method, prediction in (("LPINet", filled), ("OpenCV Telea", telea(image, mask))):
            whole = torch.where(mask > 0.5, prediction.clamp(0, 1), image)[0].permute(1, 2, 0)
            found = np.floor((whole * 255).numpy()).astype(np.uint8)
            hole = mask[0, 0].numpy() > 0.5
            similarity: Any = structural_similarity(
                target, found, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
            )
            l1 = np.abs(target[hole].astype(float) - found[hole]).mean() / 2.55
            scores = [peak_signal_noise_ratio(target, found), similarity, l1]
            for metric, value in zip(("psnr", "ssim", "l1_hole"), scores, strict=True):
                assert float(images[label][f"{method} {metric}"]) == pytest.approx(value, rel=1e-4), (label, method, metric)
                expected.setdefault(f"{method} {metric}", []).append(value)
    for row in content["rows"]:
        values = expected[f"{row['method']} {row['metric']}"]
        assert (row["value"], row["n"]) == (pytest.approx(sum(values) / 6, rel=1e-4), 6)


def test_native_sizes_with_another_data_class(
    checkpoint: Path, tmp_path: Path, many_sizes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(checkpoint, tmp_path, "--protocol", "deepgin", "--data.class_path", "lit_inpaint.data.Folder", *many_sizes)
    assert "test images of Folder, original sizes" in capsys.readouterr().out


def test_an_evaluation_in_native_sizes_resumes(
    checkpoint: Path, tmp_path: Path, many_sizes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = "[{class_path: lit_inpaint.masks.Boxes}]"
    argv = ["--protocol", "deepgin", *many_sizes, "--data.val_masks", masks, "--baselines", "mean"]
    whole = run(checkpoint, tmp_path, *argv)["rows"]
    images = (tmp_path / "found" / "scores.images.csv").read_text()
    shutil.rmtree(tmp_path / "found")
    complete, calls = Inpainter.complete, list[int]()

    def interrupted(self: Inpainter, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        calls.append(image.shape[-1])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return complete(self, image, mask)

    monkeypatch.setattr(Inpainter, "complete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, tmp_path, *argv)
    assert run(checkpoint, tmp_path, *argv)["rows"] == whole
    assert calls == [256, 256, 61, 90, 90]
    assert (tmp_path / "found" / "scores.images.csv").read_text() == images


def test_squares_if_a_size_is_given(
    checkpoint: Path, tmp_path: Path, many_sizes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(checkpoint, tmp_path, "--protocol", "deepgin", *many_sizes, "--data.size", "32")
    assert "test images of DemoPhotos, 32 px" in capsys.readouterr().out
    assert (tmp_path / "found" / "scores.manifest.csv").read_text().endswith("portrait #1,5,1,32\n")


def test_another_protocol_and_extra_metrics_in_native_sizes(checkpoint: Path, tmp_path: Path, many_sizes: list[str]) -> None:
    """Images are completed whole; LPIPS and the grid accept several sizes."""
    own, grid = ["--data.val_transform", "lit_inpaint.data.NativeSize"], tmp_path / "grid.png"
    argv = [*many_sizes, *own, "--data.test_images", "2", "--grid", str(grid)]
    content = run(checkpoint, tmp_path, *argv, "--metrics", "lpips_alex_random_weights")
    found = {row["metric"]: row for row in content["rows"] if row["bucket"] == "all"}
    assert {row["n"] for row in found.values()} == {4}
    assert all(row["value"] is not None for row in found.values())
    assert content["data"]["init_args"]["val_transform"]["class_path"] == "lit_inpaint.data.NativeSize"
    with Image.open(grid) as drawn:
        assert drawn.width > 3 * 160
    with pytest.raises(
        UserError, match=r"ssim_gray_51 needs .*51x51 pixels, the shorter side of .*odd\.png has 41; leave it out"
    ):
        evaluate.main(["--checkpoint", str(checkpoint), *QUICK, *many_sizes, *own, "--protocol", "edgeconnect"])


def test_an_image_too_large_for_memory_is_named(
    checkpoint: Path, many_sizes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Inpainter, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(message)

    monkeypatch.setattr(Inpainter, "complete", refuse)
    argv = ["--checkpoint", str(checkpoint), *QUICK, *many_sizes]
    message = "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."
    named = (
        r"not enough memory on \w+ for LPINet to complete landscape #0, 520x140 pixels; shrink.*max_size: 260.*--data\.size 256"
    )
    with pytest.raises(UserError, match=named):
        evaluate.main([*argv, "--protocol", "deepgin"])
    with pytest.raises(UserError, match=r"to complete 4 images of 32x32 pixels; set a smaller --data\.batch_size"):
        evaluate.main(argv)
    message = "shapes differ"
    with pytest.raises(RuntimeError, match="shapes differ"):
        evaluate.main(argv)
