import csv
import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lit_inpaint import prepare
from lit_inpaint.data import (
    CelebA,
    Folder,
    InpaintingData,
    ListFile,
    PolyphaseSubsample,
    RandomResizedCrop,
    ResizedCenterCrop,
    Splits,
    Transform,
    preparation,
    read_image,
)
from lit_inpaint.data.archives import list_archive
from lit_inpaint.data.image_decode import UnreadableImageError
from lit_inpaint.data.image_source import ImageFiles, ImageSource, Indices
from lit_inpaint.data.preparation import PreparationSummary, ResizeOptions, shorter_side
from lit_inpaint.data.splits import random_split
from lit_inpaint.data.transforms.augmentation import LamaAugment, RandomAffine
from lit_inpaint.errors import UserError

USUAL = ResizeOptions(size=256, shorter_side=512)
FORK = multiprocessing.get_context("fork")


def noise(number: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def fill(folder: Path, count: int, size: tuple[int, int] = (40, 30), endings: tuple[str, ...] = ("jpg",)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        noise(number, size).save(folder / f"{number:03}.{endings[number % len(endings)]}")
    return folder


def run(*argv: object, workers: int = 0) -> int:
    return prepare.main([str(word) for word in (*argv, "--workers", workers)])


def write(source: Path | InpaintingData, output: Path, recipe: ResizeOptions = USUAL, workers: int = 0) -> PreparationSummary:
    """Without the command line, whose configuration takes longer than all else here."""
    data = Folder(root=str(source)) if isinstance(source, Path) else source
    return preparation.prepare(data, data.splits(), output, recipe, workers)


def report(folder: Path) -> dict[str, dict[str, str]]:
    """Its lines, by the names of the files."""
    with (folder / "report.csv").open(newline="", errors="surrogateescape") as file:
        return {row["path"].rpartition("/")[2]: row for row in csv.DictReader(file)}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def written(folder: Path) -> dict[str, int]:
    """When each picture was written."""
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.glob("*/**/*.*") if path.is_file()}


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, on one line."""
    return " ".join(capsys.readouterr().out.split())


def names(pictures: ImageSource) -> list[str]:
    return [pictures.name(number) for number in range(len(pictures))]


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.jpg": (lambda path: path.write_bytes(b""), "empty"),
    "text.png": (lambda path: path.write_text("no image"), "broken"),
    "folder_of_that_name.jpg/inside.png": (lambda path: (path.parent.mkdir(), noise(1).save(path)), ""),
    "dangling.jpg": (lambda path: path.symlink_to("nowhere"), "broken"),
    "really_png.jpg": (lambda path: noise(2).save(path, format="PNG"), "wrong_ending"),
    "tiny.png": (lambda path: noise(3, (16, 15)).save(path), "tiny"),
    "grey.jpg": (lambda path: noise(4).convert("L").save(path), "grey"),
    "cmyk.jpg": (lambda path: noise(5).convert("CMYK").save(path), "cmyk"),
    "deep.png": (lambda path: Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(path), "grey 16bit"),
    "palette.png": (lambda path: noise(6).convert("P").save(path), "palette"),
    "alpha.png": (lambda path: noise(7).convert("RGBA").save(path), "alpha"),
    "clear_palette.png": (lambda path: noise(8).convert("P").save(path, transparency=0), "palette alpha"),
    "animated.webp": (lambda path: noise(9).save(path, save_all=True, append_images=[noise(10)]), "animated"),
    "gif.png": (lambda path: noise(11).save(path, format="GIF"), "wrong_ending palette"),
    "plain.jpeg": (lambda path: noise(12).save(path), ""),
    "plain.tiff": (lambda path: noise(13).save(path), ""),
    "huge.png": (lambda path: noise(14, (70, 38)).save(path), "huge"),
}


OTHER_ENCODING = os.fsdecode(b"\xe9t\xe9.jpg")


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(20).save(path, exif=exif)


def cut_short(path: Path) -> None:
    noise(21, (48, 48)).save(path)
    path.write_bytes(path.read_bytes()[:1500])


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_500)
    for name, (make, _) in ODD.items():
        path = tmp_path / "odd" / "train" / name
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True) if "/" not in name else None
        make(path)
    turned(tmp_path / "odd" / "train" / "turned.jpg")
    cut_short(tmp_path / "odd" / "train" / "cut_short.jpg")
    fill(tmp_path / "odd" / "val", 2)
    return tmp_path / "odd"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_kind_of_odd_file(odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = odd / "train"
    shutil.copy(train / "plain.jpeg", train / "same.jpg")
    shutil.copy(train / "tiny.png", odd / "val" / "seen.png")
    (train / OTHER_ENCODING).write_bytes(b"")
    output = tmp_path / "output"
    assert run("--data", odd, "--output", output, "--size", 20) == 0
    rows = report(output)
    expected = {name.rpartition("/")[2]: kinds for name, (_, kinds) in ODD.items()}
    expected |= {"turned.jpg": "turned", "cut_short.jpg": "broken", "same.jpg": "duplicate", "seen.png": "tiny shared"}
    expected |= {"000.jpg": "", "001.jpg": "", OTHER_ENCODING: "empty"}
    assert {name: row["kinds"] for name, row in rows.items()} == expected
    bad = {OTHER_ENCODING, "empty.jpg", "text.png", "dangling.jpg", "cut_short.jpg"}
    assert {name for name, row in rows.items() if row["usable"] == "0"} == bad
    assert rows["same.jpg"]["problem"] == f"same bytes as {train / 'plain.jpeg'}"
    assert "truncated" in rows["cut_short.jpg"]["problem"]
    assert (rows["turned.jpg"]["width"], rows["turned.jpg"]["height"]) == ("30", "40")
    assert rows["alpha.png"]["bytes"] == str((train / "alpha.png").stat().st_size)
    for row in rows.values():
        there = output / row["output"]
        assert there.is_file() == (row["usable"] == "1")
        if there.is_file():
            assert str(there.stat().st_size) == row["output_bytes"]
            assert tuple(read_image(there).shape) == (3, int(row["height"]), int(row["width"]))
    printed = said(capsys)
    assert "24 images checked: 19 can be used, 5 cannot" in printed
    left_out, used = printed.split("used all the same:")
    assert re.search(r"2 empty +no bytes: train/empty.jpg, train/.t..jpg", left_out)
    assert re.search(r"3 broken +no image, cut short, or not to be opened: train/cut_short.jpg", left_out)
    assert re.search(r"1 shared +same bytes as a file of another split: val/seen.png", used)
    assert re.search(r"2 tiny ", used)
    assert "broken" not in used


def test_only_a_few_of_a_kind_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "in", 30)
    for number in range(8):
        (tmp_path / "in" / f"x{number}.jpg").write_bytes(b"")
    assert run("--data", tmp_path / "in", "--check_only", "--strict") == 1
    printed = capsys.readouterr().out
    assert re.search(r"8 empty", printed)
    assert len(re.findall(r"x\d\.jpg", printed)) == 5
    assert max(map(len, printed.splitlines())) <= 100
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_split_and_each_batch_are_those_of_the_direct_run(workers: int, tmp_path: Path) -> None:
    top = tmp_path / "in"
    fill(top / "a" / "deep", 12, endings=("png", "bmp", "tif"))
    fill(top / "b", 12, endings=("png",))
    (top / "b" / "bad.png").write_bytes(b"no")
    output = tmp_path / "output"
    write(Folder(root=str(top), seed=3), output, ResizeOptions(32, 64, "png"), workers)
    settings: dict[str, Any] = {"size": 32, "batch_size": 6, "workers": 0}
    direct = Folder(root=str(top), seed=3, **settings)
    with pytest.warns(UserWarning, match=r"bad\.png"):
        direct.setup("fit")
    prepared = Folder(root=str(output), seed=3, **settings)
    prepared.setup("fit")
    for mine, its in zip(
        (prepared.splits().train, prepared.splits().val, prepared.splits().test),
        (direct.splits().train, direct.splits().val, direct.splits().test),
        strict=True,
    ):
        assert [name for name in names(its) if name != "b/bad"] == names(mine)
    one, other = iter(direct.train_dataloader()), iter(prepared.train_dataloader())
    for _ in range(6):
        here, there = next(one), next(other)
        assert here["name"] == there["name"]
        assert torch.equal(here["image"], there["image"])
    assert not sorted(output.rglob("*.part"))


def test_files_that_differ_in_their_endings_only(tmp_path: Path) -> None:
    fill(tmp_path / "in" / "train", 3)
    noise(50).save(tmp_path / "in" / "train" / "001.png")
    fill(tmp_path / "in" / "val", 1)
    write(tmp_path / "in", tmp_path / "output")
    assert sorted(path.name for path in (tmp_path / "output" / "train").iterdir()) == [
        "000.jpg",
        "001.jpg.jpg",
        "001.png.jpg",
        "002.jpg",
    ]


def test_shrunk_but_never_enlarged_and_copied_where_that_will_do(tmp_path: Path) -> None:
    top = tmp_path / "in"
    fill(top / "val", 1)
    (top / "train").mkdir()
    noise(0, (6, 8)).resize((900, 1200), Image.Resampling.BICUBIC).save(top / "train" / "large.png")
    noise(1, (80, 64)).save(top / "train" / "small.jpg", quality=30)
    noise(2, (80, 50)).save(top / "train" / "other.png")
    write(top, tmp_path / "output", ResizeOptions(32, 64))
    train = tmp_path / "output" / "train"
    assert {path.name: tuple(read_image(path).shape[1:]) for path in train.iterdir()} == {
        "large.jpg": (85, 64),
        "small.jpg": (64, 80),
        "other.jpg": (50, 80),
    }
    assert (train / "small.jpg").read_bytes() == (top / "train" / "small.jpg").read_bytes()
    with Image.open(train / "large.jpg") as image:
        assert image.size == (64, 85)
        assert image.layer[0][1:3] == (1, 1)  # colours at full resolution
        small = np.asarray(image, np.float32)
    with Image.open(top / "train" / "large.png") as image:
        expected = np.asarray(image.resize((64, 85), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(small - expected).mean() < 2  # of 255; JPEG's and rounding


def test_what_views_need() -> None:
    assert shorter_side(ResizedCenterCrop(), 256) == 256
    assert shorter_side(RandomAffine(), 256) == 256
    assert shorter_side(RandomResizedCrop(scale=(0.5, 1.0)), 256) == 512
    assert shorter_side(RandomResizedCrop(scale=(0.77, 1.0)), 96) == 125
    assert shorter_side(PolyphaseSubsample(factor=2), 256) == 512
    assert shorter_side(LamaAugment(), 96) is None

    class Own(Transform):
        def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
            raise AssertionError

    assert shorter_side(Own(), 96) is None


def wait_for(happened: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images, and what becomes of them."""
    top, output = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("undisturbed")
    fill(top, 24, size=(240, 200))
    (top / "broken.jpg").write_bytes(b"no")
    write(top, output, ResizeOptions(64, 190, "png"))
    return top, output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again(number: signal.Signals, undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    top, expected = undisturbed
    output = tmp_path / "output"
    argv = ["--data", str(top), "--output", str(output), "--size", "64", "--shorter_side", "190", "--format", "png"]
    process = FORK.Process(target=prepare.main, args=([*argv, "--workers", "2"],))
    process.start()
    wait_for(lambda: len(list(output.glob("train/*.png"))) >= 4)
    wait_for(lambda: (output / "report.csv").read_bytes().count(b"\n") >= 2)  # lines come in the pictures' order
    assert process.pid is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(process.pid, number)
    process.join(20)
    assert process.exitcode == (-9 if number == signal.SIGKILL else 143)
    wait_for(lambda: not any(alive(int(child)) for child in children), seconds=8)
    with (output / "report.csv").open("a") as file:
        file.write("half a li")  # what a power cut leaves
    finished = {row["output"] for row in report(output).values() if row["usable"] == "1"}
    before = written(output)
    assert 1 <= len(finished) < 24
    assert not json.loads((output / "lists.json").read_text())["complete"]
    (output / "train" / ".007.png.part").write_bytes(b"half a pict")

    write(top, output, ResizeOptions(64, 190, "png"), workers=2)
    after = written(output)
    assert {name: after[name] for name in finished} == {name: before[name] for name in finished}
    assert tree(output) == tree(expected)


def test_what_changed_meanwhile(tmp_path: Path) -> None:
    top, output = tmp_path / "in", tmp_path / "output"
    fill(top / "train", 6)
    fill(top / "val", 1)
    assert write(top, output).reused == 0
    before = written(output)
    assert write(top, output).reused == 7
    assert written(output) == before

    noise(99).save(top / "train" / "001.jpg")  # another picture
    (top / "train" / "002.jpg").unlink()
    noise(98).save(top / "train" / "new.jpg")
    (output / "train" / "003.jpg").unlink()
    (output / "train" / "004.jpg").write_bytes(b"cut short by a power cut")
    tally = write(top, output)
    assert (tally.reused, tally.removed) == (3, 1)
    after = written(output)
    assert sorted(path.name for path in (output / "train").iterdir()) == sorted(path.name for path in (top / "train").iterdir())
    assert {name for name in before if before[name] == after.get(name)} == {"train/000.jpg", "train/005.jpg", "val/000.jpg"}
    for name in ("001", "003", "004", "new"):
        assert torch.equal(read_image(output / "train" / f"{name}.jpg"), read_image(top / "train" / f"{name}.jpg"))
    assert "002.jpg" not in report(output)

    noise(97).save(output / "train" / "from_elsewhere.jpg")
    with pytest.raises(UserError, match=r"from_elsewhere\.jpg belongs to no image"):
        write(top, output)
    assert (output / "train" / "from_elsewhere.jpg").exists()


@pytest.mark.parametrize("recipe", [USUAL, ResizeOptions(256, None)])
def test_a_file_that_could_not_be_read_is_tried_again(recipe: ResizeOptions, tmp_path: Path) -> None:
    top, output = fill(tmp_path / "in", 20), tmp_path / "output"
    content = (top / "003.jpg").read_bytes()
    (top / "003.jpg").write_bytes(b"?" * len(content))
    write(top, output, recipe)
    stamp = (top / "003.jpg").stat()
    (top / "003.jpg").write_bytes(content)
    os.utime(top / "003.jpg", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    write(top, output, recipe)
    assert report(output)["003.jpg"]["usable"] == "1"
    assert len(written(output)) == (20 if recipe.writes else 0)


def test_a_check_makes_room_for_a_preparation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top, output = fill(tmp_path / "in", 20), tmp_path / "output"
    assert run("--data", top, "--output", output, "--check_only", "--size", 20) == 0
    assert run("--data", top, "--output", output, "--check_only", "--strict") == 0
    assert sorted(path.name for path in output.iterdir()) == [".lock", "lists.json", "report.csv"]
    assert "--experiment" not in capsys.readouterr().out
    assert run("--data", top, "--output", output) == 0
    assert len(written(output)) == 20
    with pytest.raises(UserError, match="holds prepared images"):
        run("--data", top, "--output", output, "--check_only")


def test_lists_for_a_paper(tmp_path: Path) -> None:
    top, output = fill(tmp_path / "in", 19), tmp_path / "output"
    (top / "x.jpg").write_bytes(b"")
    write(Folder(root=str(top), seed=2), output)
    content = json.loads((output / "lists.json").read_text())
    lists = Folder(root=str(top), seed=2).splits()
    assert content["complete"]
    assert (content["data"], content["root"], content["seed"]) == ("lit_inpaint.data.datasets.folder.Folder", str(top), 2)
    assert content["recipe"] == {"size": 256, "shorter_side": 512, "format": "jpg", "quality": 95}
    prepared = Folder(root=str(output)).splits()
    for name in ("train", "val", "test"):
        entry, files = content["lists"][name], getattr(lists, name)
        assert (entry["images"], entry["sha256"]) == (len(files), files.digest())
        assert entry["written"]["sha256"] == getattr(prepared, name).digest()
    assert sum(entry["left_out"] for entry in content["lists"].values()) == 1
    assert sum(entry["written"]["images"] for entry in content["lists"].values()) == 19


def test_one_split_for_two_is_written_once(tmp_path: Path) -> None:
    top, output = fill(tmp_path / "in", 5), tmp_path / "output"
    write(top, output)
    assert sorted(path.name for path in output.iterdir() if path.is_dir()) == ["train", "val"]
    assert json.loads((output / "lists.json").read_text())["lists"]["test"]["same_as"] == "val"
    assert Folder(root=str(output)).splits().test == Folder(root=str(output)).splits().val
    # Folders with the same names below them are two splits all the same.
    for name in ("train", "val", "test"):
        fill(tmp_path / "three" / name, 2)
    write(tmp_path / "three", tmp_path / "of_three")
    assert len(written(tmp_path / "of_three")) == 6


def test_a_list_of_images_on_two_disks(tmp_path: Path) -> None:
    """All that these have in common is a folder that has other things in it, too, such as the output."""
    images = [*sorted(fill(tmp_path / "one" / "disk", 3).iterdir()), *sorted(fill(tmp_path / "other", 3).iterdir())]
    lists = {name: tmp_path / f"{name}.txt" for name in ("train", "val")}
    for number, path in enumerate(lists.values()):
        path.write_text("".join(f"{image}\n" for image in images[number::2]))
    data = ListFile(train=str(lists["train"]), val=str(lists["val"]))
    assert data.splits().train.root == tmp_path
    write(data, tmp_path / "output")
    assert sorted(name.partition("/")[2] for name in written(tmp_path / "output")) == [
        image.relative_to(tmp_path).as_posix() for image in images
    ]
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for inside in ("one/disk", "other/small/images", "link/small"):
        with pytest.raises(UserError, match=r"lies within the images' folder .*(disk|other); name one outside"):
            write(data, tmp_path / inside)


def test_a_check_without_a_folder_may_be_of_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even of the one that temporary files go to; it leaves nothing there."""
    fill(tmp_path, 3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = tree(tmp_path)
    assert run("--data", tmp_path, "--check_only") == 0
    assert tree(tmp_path) == before
    data = Folder(root=str(tmp_path))
    with pytest.raises(ValueError, match="only a check"):
        preparation.prepare(data, data.splits(), None, USUAL, 0)


class Rows(ImageSource):
    """Pictures in one array, as in a binary of many; the fifth is broken."""

    def __init__(self, indices: Indices) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> Tensor:
        if self.indices[index] == 5:
            raise UnreadableImageError(f"{self.location(index)} is broken")
        pixels = np.random.default_rng(self.indices[index]).integers(0, 256, (3, 24, 24), dtype=np.uint8)
        return torch.from_numpy(pixels)

    def location(self, index: int) -> str:
        return f"binary, picture {self.indices[index]}"

    def name(self, index: int) -> str:
        return f"part.{self.indices[index] // 10}/{self.indices[index]:04}"

    def take(self, indices: Indices) -> Self:
        return type(self)(self.indices[indices])

    def digest(self) -> str:
        return hashlib.sha256(self.indices.tobytes()).hexdigest()


class Binary(InpaintingData):
    expected_layout = "a binary"

    def splits(self) -> Splits:
        return random_split(Rows(np.arange(30)), self.seed)


class Backwards(InpaintingData):
    expected_layout = "images"

    def splits(self) -> Splits:
        assert self.root is not None
        files = ImageFiles.from_paths(sorted(Path(self.root).iterdir(), reverse=True))
        return Splits(files.take(np.arange(4)), files.take(np.arange(4, 6)), files.take(np.arange(4, 6)), "backwards")


class Archive(InpaintingData):
    expected_layout = "an archive"

    def splits(self) -> Splits:
        assert self.root is not None
        return random_split(list_archive(Path(self.root)), self.seed)


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_without_files(workers: int, tmp_path: Path) -> None:
    output = tmp_path / "output"
    tally = write(Binary(), output, ResizeOptions(16, 32, "png"), workers)
    assert (tally.usable.total(), tally.left_out.total(), tally.differs) == (29, 1, "")
    direct, prepared = Binary(size=16).splits(), Folder(root=str(output), size=16).splits()
    for name in ("train", "val", "test"):
        its, mine = getattr(direct, name), getattr(prepared, name)
        kept = [number for number in range(len(its)) if its.indices[number] != 5]
        assert [mine[number].relative_to(output / name).with_suffix("").as_posix() for number in range(len(mine))] == [
            its.name(number) for number in kept
        ]
        for number, place in enumerate(kept):
            assert torch.equal(mine.read(number), its.read(place))
    before = written(output)
    assert write(Binary(), output, ResizeOptions(16, 32, "png"), workers).reused == 29
    assert written(output) == before


@pytest.mark.parametrize("name", ["../outside", "/outside", "a//b", ".hidden", "__MACOSX/a"])
def test_names_that_lead_elsewhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rows, "name", lambda self, index: name)
    with pytest.raises(UserError, match="cannot be written under the name"):
        write(Binary(), tmp_path / "output")


def test_images_in_an_archive(tmp_path: Path) -> None:
    top = fill(tmp_path / "in", 20)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in top.iterdir():
            archive.write(path, f"inner/{path.name}")
    output = tmp_path / "output"
    data = Archive(root=str(tmp_path / "images.zip"))
    write(data, output)
    assert {path.name: path.read_bytes() for path in output.glob("*/*.jpg")} == {
        path.name: path.read_bytes() for path in top.iterdir()
    }
    before = written(output)
    assert write(data, output).reused == 20
    assert written(output) == before
    os.utime(tmp_path / "images.zip", ns=(0, 1))
    assert write(data, output).reused == 0


def test_another_order_is_said(tmp_path: Path) -> None:
    top = fill(tmp_path / "in", 6)
    assert "another order" in write(Backwards(root=str(top)), tmp_path / "output").differs
    assert len(written(tmp_path / "output")) == 6
    assert write(top, tmp_path / "forwards").differs == ""


def test_an_experiment_and_a_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = fill(tmp_path / "in", 20)
    options = ["--data.root", top, "--data.size", "16"]
    assert run("--experiment", "lpi_celeba", *options, "--output", tmp_path / "one") == 0
    printed = said(capsys)
    assert "CelebA" in printed
    assert "Shorter side at most 16 px" in printed  # CelebA's views show whole faces
    assert re.search(r"images/s before, .* \(.* times; 18 images\)", printed)
    assert f"--experiment lpi_celeba --data.root {tmp_path / 'one'}" in printed
    (tmp_path / "data.yaml").write_text("data: {class_path: CelebA, init_args: {size: 16}}\n")
    assert run("--data", tmp_path / "data.yaml", "--data.root", top, "--output", tmp_path / "two") == 0
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
        (["--data", "nowhere/photos", "--output", "NEW"], "no such folder, and the data sets are .*CelebA"),
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
        (["--data", "BAD", "--output", "NEW"], "no train image can be used; .*report.csv"),
    ],
)
def test_mistakes(argv: list[str], message: str, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("kind", "root", "seed", "recipe", "message"),
    [
        (Folder, "in", 0, ResizeOptions(30, 40, "jpg", 90), "with quality 95, not 90"),
        (Folder, "in", 0, ResizeOptions(30, 40, "png"), "with format jpg, not png"),
        (Folder, "in", 0, ResizeOptions(30, 32), "with shorter_side 40, not 32"),
        (Folder, "in", 0, ResizeOptions(20, 40), "with size 30, not 20"),
        (Folder, "in", 1, ResizeOptions(30, 40), "with seed 0, not 1"),
        (Folder, "other", 0, ResizeOptions(30, 40), "with root .*in, not .*other"),
        (CelebA, "in", 0, ResizeOptions(30, 40), "with data .*Folder, not .*CelebA"),
    ],
)
def test_changed_settings_are_not_mixed(
    kind: type[InpaintingData], root: str, seed: int, recipe: ResizeOptions, message: str, tmp_path: Path
) -> None:
    fill(tmp_path / "in", 3)
    fill(tmp_path / "other", 3)
    write(tmp_path / "in", tmp_path / "output", ResizeOptions(30, 40))
    before = tree(tmp_path / "output")
    with pytest.raises(UserError, match=message):
        write(kind(root=str(tmp_path / root), seed=seed), tmp_path / "output", recipe)
    assert tree(tmp_path / "output") == before


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_is_one_line_and_can_be_mended(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top, output = fill(tmp_path / "in", 20), tmp_path / "output"
    original = Path.write_bytes

    def full(self: Path, content: Any) -> int:
        if "007" in self.name:
            original(self, content[:50])
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return original(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match=r"^cannot write .*007.jpg \(No space left on device\); name another --output$"):
            write(top, output, workers=workers)
    assert not list(output.glob("*/*007*"))
    write(top, output)
    assert len(written(output)) == 20


def test_a_process_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top, output = fill(tmp_path / "in", 20), tmp_path / "output"
    with monkeypatch.context() as patch:
        patch.setattr(ResizeOptions, "encode", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(UserError, match=r"a process was killed.* fewer --workers"):
            write(top, output, workers=1)
    assert not written(output)
    write(top, output)
    assert len(written(output)) == 20


def test_two_at_once(tmp_path: Path) -> None:
    top, output = fill(tmp_path / "in", 20), tmp_path / "output"
    output.mkdir()
    ready = FORK.Event()

    def hold() -> None:
        with (output / ".lock").open("w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            ready.set()
            time.sleep(60)

    process = FORK.Process(target=hold)
    process.start()
    try:
        assert ready.wait(20)
        with pytest.raises(UserError, match="another preparation is at work"):
            write(top, output)
    finally:
        process.kill()
        process.join()
    write(top, output)


def test_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "lit_inpaint.prepare", "--data", "."], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: name the folder to write into")
    assert len(done.stderr.splitlines()) == 1
