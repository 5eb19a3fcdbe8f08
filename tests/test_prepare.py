"""The prepare command: printed findings, sources of the configuration, one-line errors."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import forked
import numpy as np
import pytest
from PIL import Image
from prepare_helpers import OPTIONS, fill, noise, report, tree, written_files

from lit_inpaint import prepare
from lit_inpaint.data import Folder, preparation, read_image
from lit_inpaint.errors import UserError


def run(*argv: object, workers: int = 0) -> int:
    return prepare.main([str(word) for word in (*argv, "--workers", workers)])


def printed_text(capsys: pytest.CaptureFixture[str]) -> str:
    """The printed output, joined to one line."""
    return " ".join(capsys.readouterr().out.split())


UNUSUAL_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.jpg": (lambda path: path.write_bytes(b""), "empty"),
    "text.png": (lambda path: path.write_text("no image"), "broken"),
    "folder_of_that_name.jpg/inside.png": (lambda path: (path.parent.mkdir(), noise(1).save(path)), ""),
    "dangling.jpg": (lambda path: path.symlink_to("nowhere"), "broken"),
    "really_png.jpg": (lambda path: noise(2).save(path, format="PNG"), "wrong_suffix"),
    "tiny.png": (lambda path: noise(3, (16, 15)).save(path), "tiny"),
    "gray.jpg": (lambda path: noise(4).convert("L").save(path), "gray"),
    "cmyk.jpg": (lambda path: noise(5).convert("CMYK").save(path), "cmyk"),
    "deep.png": (lambda path: Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(path), "gray 16bit"),
    "palette.png": (lambda path: noise(6).convert("P").save(path), "palette"),
    "alpha.png": (lambda path: noise(7).convert("RGBA").save(path), "alpha"),
    "clear_palette.png": (lambda path: noise(8).convert("P").save(path, transparency=0), "palette alpha"),
    "animated.webp": (lambda path: noise(9).save(path, save_all=True, append_images=[noise(10)]), "animated"),
    "gif.png": (lambda path: noise(11).save(path, format="GIF"), "wrong_suffix palette"),
    "plain.jpeg": (lambda path: noise(12).save(path), ""),
    "plain.tiff": (lambda path: noise(13).save(path), ""),
    "huge.png": (lambda path: noise(14, (70, 38)).save(path), "huge"),
}


OTHER_ENCODING = os.fsdecode(b"\xe9t\xe9.jpg")


def save_rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(20).save(path, exif=exif)


def save_truncated(path: Path) -> None:
    noise(21, (48, 48)).save(path)
    path.write_bytes(path.read_bytes()[:1500])


@pytest.fixture
def unusual_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_500)
    for name, (make, _) in UNUSUAL_FILES.items():
        path = tmp_path / "in" / "train" / name
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True) if "/" not in name else None
        make(path)
    save_rotated(tmp_path / "in" / "train" / "rotated.jpg")
    save_truncated(tmp_path / "in" / "train" / "truncated.jpg")
    fill(tmp_path / "in" / "val", 2)
    return tmp_path / "in"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_kind_of_unusual_file(unusual_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = unusual_folder / "train"
    shutil.copy(train / "plain.jpeg", train / "same.jpg")
    shutil.copy(train / "tiny.png", unusual_folder / "val" / "seen.png")
    (train / OTHER_ENCODING).write_bytes(b"")
    output = tmp_path / "output"
    assert run("--data", unusual_folder, "--output", output, "--size", 20) == 0
    rows = report(output)
    expected = {name.rpartition("/")[2]: kinds for name, (_, kinds) in UNUSUAL_FILES.items()}
    expected |= {"rotated.jpg": "rotated", "truncated.jpg": "broken", "same.jpg": "duplicate", "seen.png": "tiny overlap"}
    expected |= {"000.jpg": "", "001.jpg": "", OTHER_ENCODING: "empty"}
    assert {name: row["kinds"] for name, row in rows.items()} == expected
    bad = {OTHER_ENCODING, "empty.jpg", "text.png", "dangling.jpg", "truncated.jpg"}
    assert {name for name, row in rows.items() if row["usable"] == "0"} == bad
    assert rows["same.jpg"]["problem"] == f"same bytes as {train / 'plain.jpeg'}"
    assert "truncated" in rows["truncated.jpg"]["problem"]
    assert (rows["rotated.jpg"]["width"], rows["rotated.jpg"]["height"]) == ("30", "40")
    assert rows["alpha.png"]["bytes"] == str((train / "alpha.png").stat().st_size)
    for row in rows.values():
        written = output / row["output"]
        assert written.is_file() == (row["usable"] == "1")
        if written.is_file():
            assert str(written.stat().st_size) == row["output_bytes"]
            assert tuple(read_image(written).shape) == (3, int(row["height"]), int(row["width"]))
    printed = printed_text(capsys)
    assert "24 images checked: 19 usable, 5 unusable" in printed
    unusable, unusual = printed.split("unusual, but usable:")
    assert re.search(r"2 empty +no bytes: train/empty.jpg, train/.t..jpg", unusable)
    assert re.search(r"3 broken +no image, truncated, or not to be opened: train/dangling.jpg, ", unusable)
    assert re.search(r"1 overlap +same bytes as a file of another split: val/seen.png", unusual)
    assert re.search(r"2 tiny ", unusual)
    assert "broken" not in unusual


def test_at_most_five_files_of_a_kind_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "in", 60)
    for number in range(8):
        (tmp_path / "in" / f"x{number}.jpg").write_bytes(b"")
    assert run("--data", tmp_path / "in", "--check_only", "--strict") == 1
    printed = capsys.readouterr().out
    assert re.search(r"8 empty", printed)
    assert len(re.findall(r"x\d\.jpg", printed)) == 5
    assert max(map(len, printed.splitlines())) <= 100
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_preparation_replaces_the_report_of_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source_dir, output = fill(tmp_path / "in", 20), tmp_path / "output"
    assert run("--data", source_dir, "--output", output, "--check_only", "--size", 20) == 0
    assert run("--data", source_dir, "--output", output, "--check_only", "--strict") == 0
    assert sorted(path.name for path in output.iterdir()) == [".lock", "report.csv", "splits.json"]
    assert "--experiment" not in capsys.readouterr().out
    assert run("--data", source_dir, "--output", output) == 0
    assert len(written_files(output)) == 20
    with pytest.raises(UserError, match="holds prepared images"):
        run("--data", source_dir, "--output", output, "--check_only")


def test_check_without_output_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks the folder of temporary files itself."""
    fill(tmp_path, 3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = tree(tmp_path)
    assert run("--data", tmp_path, "--check_only") == 0
    assert tree(tmp_path) == before
    data = Folder(root=str(tmp_path))
    with pytest.raises(ValueError, match="without a folder"):
        preparation.prepare(data, data.splits(), None, OPTIONS, 0)


def test_data_of_an_experiment_a_yaml_file_and_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source_dir = fill(tmp_path / "in", 20)
    options = ["--data.root", source_dir, "--data.size", "16"]
    assert run("--experiment", "lpi_celeba", *options, "--output", tmp_path / "one") == 0
    printed = printed_text(capsys)
    assert "CelebA" in printed
    assert "Shorter side at most 16 px" in printed  # CelebA's transforms use whole images
    assert f"--experiment lpi_celeba --data.root {tmp_path / 'one'}" in printed
    (tmp_path / "data.yaml").write_text("data: {class_path: CelebA, init_args: {size: 16}}\n")
    assert run("--data", tmp_path / "data.yaml", "--data.root", source_dir, "--output", tmp_path / "two") == 0
    assert tree(tmp_path / "two").keys() == tree(tmp_path / "one").keys()
    assert run("--data", "CelebA", *options, "--output", tmp_path / "three") == 0
    assert {name: content for name, content in tree(tmp_path / "three").items() if name.endswith("jpg")} == {
        name: content for name, content in tree(tmp_path / "one").items() if name.endswith("jpg")
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--data --experiment"),
        (["--data", "IN"], "name the folder to write into"),
        (["--data", "IN", "--experiment", "lpi_celeba", "--output", "NEW"], "not allowed with"),
        (["--data", "IN", "--output", "IN/inside"], "lies within the images' folder"),
        (["--data", "IN", "--output", "IN"], "lies within the images' folder"),
        (["--data", "IN", "--output", "FULL"], "neither empty nor of an earlier preparation"),
        (["--data", "IN", "--output", "FULL/file/deeper"], "cannot write into"),
        (["--data", "IN", "--data.root", "IN", "--output", "NEW"], "name two folders"),
        (["--data", "nowhere/images", "--output", "NEW"], "no such folder, and the data sets are .*CelebA"),
        (["--data", "CelebB", "--output", "NEW"], "no such folder, and the data sets are .*CelebA"),
        (["--data", "EMPTY", "--output", "NEW"], "no files"),
        (["--data", "FULL", "--output", "NEW"], "no images"),
        (["--data", "IN", "--output", "NEW", "--quality", "101"], "from 1 to 100"),
        (["--data", "IN", "--output", "NEW", "--size", "0"], "at least 1"),
        (["--data", "IN", "--output", "NEW", "--data.sise", "3"], r"data\.sise.*size"),
        (["--data", "IN", "--output", "NEW", "--shortside", "3"], "did you mean '--shorter_side'"),
        (
            [
                "--data",
                "IN",
                "--output",
                "NEW",
                "--data.train_transform",
                "lit_inpaint.data.transforms.augmentation.LamaAugment",
            ],
            "at their own resolution",
        ),
        (["--data", "BAD", "--output", "NEW"], "no train image is usable; .*report.csv"),
    ],
)
def test_user_errors(argv: list[str], message: str, tmp_path: Path) -> None:
    fill(tmp_path / "IN", 3)
    (tmp_path / "EMPTY").mkdir()
    for name, file in (("FULL", "file"), ("BAD/train", "0.jpg")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / file).write_text("something")
    fill(tmp_path / "BAD" / "val", 1)
    before = tree(tmp_path)
    with pytest.raises(UserError, match=message):
        run(*(tmp_path / word if word.split("/")[0].isupper() else word for word in argv))
    assert {name for name in tree(tmp_path).keys() - before.keys() if name.endswith(".jpg") and "BAD" not in argv} == set()
    assert before.items() <= tree(tmp_path).items()


def test_command_in_a_process() -> None:
    done = forked.run(["-m", "lit_inpaint.prepare", "--data", "."])
    assert done.returncode == 2
    assert done.stderr.startswith("error: name the folder to write into")
    assert len(done.stderr.splitlines()) == 1
