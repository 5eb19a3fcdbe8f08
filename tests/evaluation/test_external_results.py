"""Results of other programs in `evaluate`: matched by name, scored like every other method."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint import evaluate
from lit_inpaint.data import EvaluationFolder
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.baselines import telea
from lit_inpaint.evaluation.external_results import ExternalResults, open_results, parse_results
from lit_inpaint.masks import Boxes, Center, MaskSource

CENTER = ["--data.val_masks", "[{class_path: lit_inpaint.masks.Center}]", "--data.size", "24", "--data.workers", "0"]
Write = Callable[..., Path]


@pytest.fixture
def images(write: Write, tmp_path: Path) -> Path:
    """Six images of 24x24 pixels, in two folders."""
    for number in range(6):
        write(f"images/{'ab'[number % 2]}/{number}.jpg", number, (24, 24))
    return tmp_path / "images"


def save_telea(images: Path, folder: Path, *masks: MaskSource) -> EvaluationFolder:
    """Complete every sample by Telea's method, with black known pixels, as another program may leave them."""
    data = EvaluationFolder(str(images), size=24, val_masks=list(masks or [Center()]), workers=0)
    data.setup("test")
    for sample in data.samples("test"):
        assert sample is not None
        image, mask = sample["image"][None] / 255, sample["mask"][None].float()
        pixels = (telea(image, mask) * mask * 255).round().byte()[0].permute(1, 2, 0).numpy()
        path = folder / f"{sample['name']}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return data


def run(images: Path, output: Path, *options: str) -> dict[str, Any]:
    assert evaluate.main(["--data.root", str(images), *CENTER, "--output", str(output), *options]) == 0
    content: dict[str, Any] = json.loads(output.read_text())
    return content


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows are equal up to the order of additions."""
    texts = {key: value for key, value in other.items() if not isinstance(value, float)}
    return one.keys() == other.keys() and all(
        one[key] == value if key in texts else one[key] == pytest.approx(value, rel=1e-12) for key, value in other.items()
    )


def test_results_are_scored_as_the_method_that_made_them(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same rows, intervals and list of samples, without a checkpoint; each result is paired with each baseline."""
    save_telea(images, tmp_path / "made")
    grid = tmp_path / "grid.png"
    options = ("--baselines", "telea", "mean", "--metrics", "psnr_hole")
    content = run(images, tmp_path / "t.json", "--results", f"Made={tmp_path / 'made'}", "--grid", str(grid), *options)
    printed = capsys.readouterr()
    without = run(images, tmp_path / "without.json", *options)
    rows: dict[str, list[dict[str, Any]]] = {method: [] for method in ("Mean fill", "OpenCV Telea", "Made")}
    for row in content["rows"]:
        rows[row["method"]].append({key: value for key, value in row.items() if key not in ("method", "results")})
    assert len(rows["Made"]) == len(rows["OpenCV Telea"]) == 6 * 4
    for one, other in zip(rows["Made"], rows["OpenCV Telea"], strict=True):
        assert same(one, other)
    assert {row["n"] for row in rows["Made"] if row["bucket"] == "all"} == {6}
    others = [row for row in content["rows"] if row["method"] != "Made"]
    for one, other in zip(others, without["rows"], strict=True):
        assert same(one, other)  # the manifest's digest too
    assert {row.get("results") for row in content["rows"] if row["method"] == "Made"} == {str(tmp_path / "made")}
    assert content["methods"]["Made"] == {"results": str(tmp_path / "made"), "files": 6}
    pairs = [pair for pair in content["pairs"] if pair["bucket"] == "all" and pair["metric"] == "psnr"]
    assert [(pair["method"], pair["other"], pair["n"]) for pair in pairs] == [
        ("Made", "Mean fill", 6),
        ("Made", "OpenCV Telea", 6),
    ]
    assert (pairs[1]["difference"], pairs[1]["tie_rate"]) == (0, 1)
    assert "Made against OpenCV Telea by PSNR: equal at 20-30%, all samples" in printed.out.replace("better nowhere; ", "")
    assert "Made - OpenCV Telea, PSNR sample by sample: 20-30%: +0.000" in printed.out
    assert "warning" not in printed.err
    with Image.open(grid) as drawn:
        assert drawn.width > 5 * 24


def test_beside_a_checkpoint_and_in_every_format(checkpoint: Path, tmp_path: Path) -> None:
    """Images, masks and protocol are those of the checkpoint; pairs are network - results, and each with the baseline."""
    grid_of = ["--checkpoint", str(checkpoint), "--data.val_crops", "1", "--data.batch_size", "4"]
    assert evaluate.main([*grid_of, "--output", str(tmp_path / "first.json")]) == 0
    with (tmp_path / "first.images.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    for name in names:
        path = tmp_path / "made" / f"{name}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (32, 32), (128, 128, 128)).save(path)
    outputs = [str(tmp_path / f"t.{suffix}") for suffix in ("json", "csv", "md")]
    argv = [*grid_of, "--results", f"Gray={tmp_path / 'made'}", "--baselines", "mean", "--output", *outputs]
    assert evaluate.main(argv) == 0
    content = json.loads((tmp_path / "t.json").read_text())
    assert list(dict.fromkeys(row["method"] for row in content["rows"])) == ["LPINet", "Gray", "Mean fill"]
    assert list(dict.fromkeys((pair["method"], pair["other"]) for pair in content["pairs"])) == [
        ("LPINet", "Gray"),
        ("LPINet", "Mean fill"),
        ("Gray", "Mean fill"),
    ]
    with (tmp_path / "t.csv").open(newline="") as file:
        assert {row["results"] for row in csv.DictReader(file) if row["method"] == "Gray"} == {str(tmp_path / "made")}
    assert "Gray" in (tmp_path / "t.md").read_text()
    assert (tmp_path / "first.manifest.csv").read_bytes() == (tmp_path / "t.manifest.csv").read_bytes()


def test_files_below_any_folder_and_of_any_format_are_found_by_name(images: Path, tmp_path: Path) -> None:
    data = save_telea(images, tmp_path / "made")
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (tmp_path / "made").rglob("*.png"):
        with Image.open(path) as image:
            image.save(flat / f"{path.stem}.webp", lossless=True)
    (tmp_path / "outer").mkdir()
    shutil.copytree(tmp_path / "made", tmp_path / "outer" / "made")
    for folder in (tmp_path / "made", tmp_path / "outer", flat):
        assert len(ExternalResults("x", folder, data.samples("test"))) == 6


@pytest.fixture
def two_masks(images: Path, tmp_path: Path) -> EvaluationFolder:
    return save_telea(images, tmp_path / "made", Center(), Boxes((1, 1), (0.3, 0.5)))


def test_under_several_masks_the_mask_belongs_to_the_name(two_masks: EvaluationFolder, tmp_path: Path) -> None:
    results = ExternalResults("x", tmp_path / "made", two_masks.samples("test"))
    assert len(results) == 12
    sample = two_masks.samples("test")[3]
    assert sample is not None
    assert sample["name"] == "a/2 #1"
    image, mask = sample["image"][None] / 255, sample["mask"][None].float()
    completed = results.complete([sample["name"]], image, mask)
    assert torch.allclose(completed, telea(image, mask) * mask, atol=1e-6)
    (tmp_path / "made" / "a" / "2 #1.png").unlink()
    with pytest.raises(UserError, match=r"x: 1 of 12 samples have no file in .*made: a/2 #1; .* such as a/2 #1\.png"):
        ExternalResults("x", tmp_path / "made", two_masks.samples("test"))


def test_mistakes_end_with_one_line_before_the_evaluation(images: Path, tmp_path: Path, write: Write) -> None:
    samples, made = save_telea(images, tmp_path / "made").samples("test"), tmp_path / "made"

    def refused(message: str, name: str = "x", folder: Path = made) -> None:
        with pytest.raises(UserError, match=message) as caught:
            open_results({name: folder}, samples, ["OpenCV Telea"])
        assert "\n" not in str(caught.value)

    refused("OpenCV Telea: another method of this table has that name", name="OpenCV Telea")
    refused("is not a folder; name the folder of the completed images", folder=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    refused("holds no image", folder=tmp_path / "empty")
    (made / "a" / "0.png").rename(made / "0.png.gone")
    refused(r"1 of 6 samples have no file in .*made: a/0; a file has the name of its sample, such as a/0\.png")
    write("made/a/0.png", size=(24, 20))
    refused(r"a/0\.png is 24x20 pixels \(width x height\), its sample 24x24; evaluate in that size: --data\.size 20")
    (made / "a" / "0.png").write_bytes((made / "a" / "2.png").read_bytes()[:40])
    refused(r"a/0\.png")
    (made / "a" / "0.png").write_text("no image")
    refused(r"a/0\.png as an image \(UnidentifiedImageError: cannot identify image file\)$")
    frames = [Image.new("RGB", (24, 24), color) for color in ("gray", "white")]
    frames[0].save(made / "a" / "0.png", save_all=True, append_images=frames[1:])
    refused(r"--results x: \S*a/0\.png has 2 frames or pages; save the one to use as an image of its own$")
    write("made/a/0.png", size=(24, 24))
    write("made/a/0.bmp", size=(24, 24))
    refused(r"several files in .* may be a/0: a/0\.bmp, a/0\.png; keep one")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], r"nothing to evaluate; name --checkpoint FILE, --results NAME=DIR or --baselines"),
        (["--results", "folder"], r"--results folder: expected NAME=DIR"),
        (["--results", "x="], r"--results x=: expected NAME=DIR"),
        (["--results", "x=a", "x=b"], r"--results names x twice"),
        (["--results", "x=a"], r"without a checkpoint, name the images: --experiment NAME, or --data\.root DIR"),
    ],
)
def test_mistakes_on_the_command_line(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate.main(options)


def test_values_of_the_option() -> None:
    home = Path("~/x").expanduser()
    assert parse_results(["MI-GAN=~/x", "a b=c=d"]) == {"MI-GAN": home, "a b": Path("c=d")}


def test_files_of_no_sample_are_counted(images: Path, tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    samples = save_telea(images, tmp_path / "made").samples("test")
    write("made/other.png", size=(24, 24))
    open_results({"x": tmp_path / "made"}, samples, [])
    assert "warning: --results x: 1 file in" in (printed := capsys.readouterr().err)
    assert "not scored: other.png" in printed
    (tmp_path / "made" / "other.png").rename(tmp_path / "made" / "a\nwarning: \x1b[31m.png")
    open_results({"x": tmp_path / "made"}, samples, [])
    assert capsys.readouterr().err.endswith(r"not scored: a warning: \x1b[31m.png" + "\n")


def test_an_interrupted_evaluation_never_reuses_scores_of_changed_files(images: Path, tmp_path: Path) -> None:
    samples, made = save_telea(images, tmp_path / "made").samples("test"), tmp_path / "made"
    before = ExternalResults("x", made, samples).identity
    assert ExternalResults("x", made, samples).identity == before
    os.utime(made / "b" / "1.png", ns=(1, 1))
    assert ExternalResults("x", made, samples).identity != before


def test_probable_mistakes_are_noted(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The originals, as under inverted masks, have perfect scores; results of another order have other known pixels."""
    other = tmp_path / "other"
    for path in images.rglob("*.jpg"):
        with Image.open(path) as image:
            target = other / path.relative_to(images).with_suffix(".png")
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - np.asarray(image)).save(target)
    content = run(images, tmp_path / "t.json", "--results", f"Same={images}", f"Other={other}")
    assert len([note for note in content["notes"] if note.startswith(("Same: all", "Other: known"))]) == 2
    printed = capsys.readouterr().out
    assert "Same: all 6 results equal the images inside the holes; the folder may hold the originals, or the masks" in printed
    assert "Other: known pixels differ from the images by " in printed
    assert "Same: known" not in printed
    assert "Other: all" not in printed


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("training", "Validation"), ("Train", "testing")])
def test_of_a_folder_with_splits_no_training_image_is_evaluated(write: Write, tmp_path: Path, train: str, test: str) -> None:
    for name in (f"{train}/0.png", f"{train}/1.png", f"{test}/2.png"):
        write(f"split/{name}")
    splits = EvaluationFolder(str(tmp_path / "split"), size=24, workers=0).splits()
    assert [[name.rpartition("/")[2] for name in part.names()] for part in (splits.val, splits.test)] == [["2.png"]] * 2


def test_all_images_of_a_folder_without_splits_are_evaluated(images: Path, write: Write) -> None:
    data = EvaluationFolder(str(images), size=24, workers=0)
    assert [len(part) for part in (data.splits().train, data.splits().val, data.splits().test)] == [0, 6, 6]
    write("images/test/7.png")
    assert [len(part) for part in (data.splits().train, data.splits().val, data.splits().test)] == [0, 1, 1]
