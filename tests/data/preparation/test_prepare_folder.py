"""Preparation of a folder: same splits as the data set, what is written, refused folders, `splits.json`."""

import fcntl
import hashlib
import json
import multiprocessing
import os
import time
import zipfile
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from prepare_helpers import fill, names, noise, tree, write, written_files
from torch import Tensor

from lit_inpaint.data import CelebA, Folder, InpaintingData, ListFile, Splits
from lit_inpaint.data.archives import list_archive
from lit_inpaint.data.image_source import ImageFiles, ImageSource, Indices
from lit_inpaint.data.preparation import ResizeOptions
from lit_inpaint.data.splits import random_split
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import UnreadableImageError

FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize("workers", [0, 2])
def test_splits_and_batches_equal_those_of_the_data_set(workers: int, tmp_path: Path) -> None:
    source_dir = tmp_path / "in"
    fill(source_dir / "a" / "deep", 12, suffixes=("png", "bmp", "tif"))
    fill(source_dir / "b", 12, suffixes=("png",))
    (source_dir / "b" / "bad.png").write_bytes(b"no")
    output = tmp_path / "output"
    write(Folder(root=str(source_dir), seed=3), output, ResizeOptions(32, 64, "png"), workers)
    settings: dict[str, Any] = {"size": 32, "batch_size": 6, "workers": 0}
    direct = Folder(root=str(source_dir), seed=3, **settings)
    with pytest.warns(UserWarning, match=r"bad\.png"):
        direct.setup("fit")
    prepared = Folder(root=str(output), seed=3, **settings)
    prepared.setup("fit")
    for prepared_source, direct_source in zip(
        (prepared.splits().train, prepared.splits().val, prepared.splits().test),
        (direct.splits().train, direct.splits().val, direct.splits().test),
        strict=True,
    ):
        assert [name for name in names(direct_source) if name != "b/bad"] == names(prepared_source)
    one, other = iter(direct.train_dataloader()), iter(prepared.train_dataloader())
    for _ in range(6):
        first, second = next(one), next(other)
        assert first["name"] == second["name"]
        assert torch.equal(first["image"], second["image"])
    assert not sorted(output.rglob("*.part"))


def test_files_that_differ_only_in_their_suffixes(tmp_path: Path) -> None:
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


def test_splits_json_has_hashes_and_options(tmp_path: Path) -> None:
    source_dir, output = fill(tmp_path / "in", 19), tmp_path / "output"
    (source_dir / "x.jpg").write_bytes(b"")
    write(Folder(root=str(source_dir), seed=2), output)
    content = json.loads((output / "splits.json").read_text())
    splits = Folder(root=str(source_dir), seed=2).splits()
    assert content["complete"]
    assert (content["data"], content["root"], content["seed"]) == (
        "lit_inpaint.data.datasets.folder.Folder",
        str(source_dir),
        2,
    )
    assert content["resize_options"] == {"size": 256, "shorter_side": 512, "format": "jpg", "quality": 95}
    prepared = Folder(root=str(output)).splits()
    for name in ("train", "val", "test"):
        entry, files = content["splits"][name], getattr(splits, name)
        assert (entry["images"], entry["sha256"]) == (len(files), files.digest())
        assert entry["written"]["sha256"] == getattr(prepared, name).digest()
    assert sum(entry["unusable"] for entry in content["splits"].values()) == 1
    assert sum(entry["written"]["images"] for entry in content["splits"].values()) == 19


def test_identical_splits_are_written_once(tmp_path: Path) -> None:
    source_dir, output = fill(tmp_path / "in", 5), tmp_path / "output"
    write(source_dir, output)
    assert sorted(path.name for path in output.iterdir() if path.is_dir()) == ["train", "val"]
    assert json.loads((output / "splits.json").read_text())["splits"]["test"]["same_as"] == "val"
    assert Folder(root=str(output)).splits().test == Folder(root=str(output)).splits().val
    # Folders with the same file names are different splits.
    for name in ("train", "val", "test"):
        fill(tmp_path / "three" / name, 2)
    write(tmp_path / "three", tmp_path / "of_three")
    assert len(written_files(tmp_path / "of_three")) == 6


def test_list_of_images_on_two_disks(tmp_path: Path) -> None:
    """Their common parent may hold the output; folders that hold images may not."""
    images = [*sorted(fill(tmp_path / "one" / "disk", 3).iterdir()), *sorted(fill(tmp_path / "other", 3).iterdir())]
    list_files = {name: tmp_path / f"{name}.txt" for name in ("train", "val")}
    for number, path in enumerate(list_files.values()):
        path.write_text("".join(f"{image}\n" for image in images[number::2]))
    data = ListFile(train=str(list_files["train"]), val=str(list_files["val"]))
    assert data.splits().train.root == tmp_path
    write(data, tmp_path / "output")
    assert sorted(name.partition("/")[2] for name in written_files(tmp_path / "output")) == [
        image.relative_to(tmp_path).as_posix() for image in images
    ]
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for inside in ("one/disk", "other/small/images", "link/small"):
        with pytest.raises(UserError, match=r"lies within the images' folder .*(disk|other); name one outside"):
            write(data, tmp_path / inside)


class Rows(ImageSource):
    """Images in one array, as in a binary file; image 5 is broken."""

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
        return f"binary, image {self.indices[index]}"

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
def test_images_without_files(workers: int, tmp_path: Path) -> None:
    output = tmp_path / "output"
    summary = write(Binary(), output, ResizeOptions(16, 32, "png"), workers)
    assert (summary.usable.total(), summary.unusable.total(), summary.difference) == (29, 1, "")
    direct, prepared = Binary(size=16).splits(), Folder(root=str(output), size=16).splits()
    for name in ("train", "val", "test"):
        image_source, files = getattr(direct, name), getattr(prepared, name)
        kept = [index for index in range(len(image_source)) if image_source.indices[index] != 5]
        assert [files[index].relative_to(output / name).with_suffix("").as_posix() for index in range(len(files))] == [
            image_source.name(index) for index in kept
        ]
        for number, index in enumerate(kept):
            assert torch.equal(files.read(number), image_source.read(index))
    before = written_files(output)
    assert write(Binary(), output, ResizeOptions(16, 32, "png"), workers).num_reused == 29
    assert written_files(output) == before


@pytest.mark.parametrize("name", ["../outside", "/outside", "a//b", ".hidden", "__MACOSX/a"])
def test_unsafe_names_are_errors(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rows, "name", lambda self, index: name)
    with pytest.raises(UserError, match="cannot be written under the name"):
        write(Binary(), tmp_path / "output")


def test_images_in_an_archive(tmp_path: Path) -> None:
    source_dir = fill(tmp_path / "in", 20)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in source_dir.iterdir():
            archive.write(path, f"inner/{path.name}")
    output = tmp_path / "output"
    data = Archive(root=str(tmp_path / "images.zip"))
    write(data, output)
    assert {path.name: path.read_bytes() for path in output.glob("*/*.jpg")} == {
        path.name: path.read_bytes() for path in source_dir.iterdir()
    }
    before = written_files(output)
    assert write(data, output).num_reused == 20
    assert written_files(output) == before
    os.utime(tmp_path / "images.zip", ns=(0, 1))
    assert write(data, output).num_reused == 0


def test_another_order_is_reported(tmp_path: Path) -> None:
    source_dir = fill(tmp_path / "in", 6)
    assert "another order" in write(Backwards(root=str(source_dir)), tmp_path / "output").difference
    assert len(written_files(tmp_path / "output")) == 6
    assert write(source_dir, tmp_path / "forwards").difference == ""


@pytest.mark.parametrize(
    ("kind", "root", "seed", "options", "message"),
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
def test_changed_options_are_errors(
    kind: type[InpaintingData], root: str, seed: int, options: ResizeOptions, message: str, tmp_path: Path
) -> None:
    fill(tmp_path / "in", 3)
    fill(tmp_path / "other", 3)
    write(tmp_path / "in", tmp_path / "output", ResizeOptions(30, 40))
    before = tree(tmp_path / "output")
    with pytest.raises(UserError, match=message):
        write(kind(root=str(tmp_path / root), seed=seed), tmp_path / "output", options)
    assert tree(tmp_path / "output") == before


def test_second_preparation_of_a_folder_is_an_error(tmp_path: Path) -> None:
    source_dir, output = fill(tmp_path / "in", 20), tmp_path / "output"
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
        with pytest.raises(UserError, match="another preparation uses"):
            write(source_dir, output)
    finally:
        process.kill()
        process.join()
    write(source_dir, output)


@pytest.mark.parametrize(
    ("old", "new"), [(b",train,", b",x,train,"), (b"train/000", b'"train/000'), (b",40,", b",forty,"), (b"\n", b"\0\n")]
)
def test_a_damaged_report_is_made_again_from_there(old: bytes, new: bytes, tmp_path: Path) -> None:
    images, output = fill(tmp_path / "images", 8), tmp_path / "output"
    write(images, output)
    whole = (output / "report.csv").read_bytes()
    head, first, rest = whole.partition(b"\n")
    (output / "report.csv").write_bytes(head + first + rest.replace(old, new, 1))
    assert write(images, output).num_reused < 8
    assert (output / "report.csv").read_bytes() == whole
    assert write(images, output).num_reused == 8
