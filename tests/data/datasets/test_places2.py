from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from split_names import stems

from lit_inpaint.data import Places2

Write = Callable[..., Path]
Pack = Callable[..., Path]
SCENES = ["a/abbey/00000001.jpg", "a/abbey/00000002.jpg", "a/apartment_building/outdoor/00000001.jpg", "b/beach/00000001.jpg"]


@pytest.fixture
def unpacked(write: Write, tmp_path: Path) -> Path:
    for number, name in enumerate(SCENES):
        write(f"places/data_256_standard/{name}", number)
    for number in (1, 2):
        write(f"places/val_256/Places365_val_{number:08}.jpg", 10 + number)
        write(f"places/test_256/Places365_test_{number:08}.jpg", 20 + number)
    return tmp_path / "places"


@pytest.mark.parametrize("folder", ["data_256_standard", "data_256", ""])
def test_tars_equal_the_unpacked_folders(folder: str, unpacked: Path, pack: Pack, tmp_path: Path) -> None:
    """Whatever the names of the training archive and of its folder."""
    expected = Places2(str(unpacked)).splits()
    parts = ("train", "val", "test")
    seconds = [getattr(expected, part).read(1) for part in parts]
    for name in ("data_256_standard", "val_256", "test_256"):
        (tmp_path / "parts" / name).mkdir(parents=True)
        (unpacked / name).rename(tmp_path / "parts" / name / (folder if name == "data_256_standard" else name))
    for name, archive in (
        ("data_256_standard", folder or "train_256_places365standard"),
        ("val_256", "val_256"),
        ("test_256", "test_256"),
    ):
        pack(f"tars/{archive}.tar", f"parts/{name}")
    splits = Places2(str(tmp_path / "tars")).splits()
    assert splits.note == expected.note
    assert (
        "train, val and test folders; 3 of the 365 official classes, 4 of the 1,803,460 official training images" in splits.note
    )
    assert "2 of the 36,500 official validation images, 2 of the 328,500 official test images" in splits.note
    for part, second in zip(parts, seconds, strict=True):
        ours, theirs = getattr(splits, part), getattr(expected, part)
        assert [ours.name(i) for i in range(len(ours))] == [theirs.name(i) for i in range(len(theirs))]
        assert torch.equal(ours.read(1), second)


def test_the_easy_format_has_all_splits_in_one_archive(write: Write, pack: Pack, tmp_path: Path) -> None:
    for name in ("train/abbey/00000001.jpg", "train/beach/00000001.jpg", "val/abbey/Places365_val_00000001.jpg"):
        write(f"images/places365_standard/{name}")
    archive = pack("places365standard_easyformat.tar")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    for root in (tmp_path, archive, tmp_path / "elsewhere"):
        splits = Places2(str(root)).splits()
        assert [len(splits.train), len(splits.val)] == [2, 1]
        assert splits.test == splits.val


def test_small_images_come_before_large_ones(write: Write, tmp_path: Path) -> None:
    for name in ("data_large_standard/a/abbey/1.jpg", "data_256_standard/a/abbey/2.jpg", "val_large/3.jpg", "val_256/4.jpg"):
        write(name)
    splits = Places2(str(tmp_path)).splits()
    assert [Path(part.location(0)).stem for part in (splits.train, splits.val)] == ["2", "4"]


def test_places2_reads_the_official_folders(write: Write, tmp_path: Path) -> None:
    write("data_256_standard/a/abbey/00000001.jpg")
    write("data_256_standard/b/beach/00000001.jpg")
    write("val_256/Places365_val_00000001.jpg")
    data = Places2(str(tmp_path))
    assert [path.parent.name for path in data.splits().train] == ["abbey", "beach"]
    assert data.splits().val == data.splits().test
    assert "test is val" in data.describe()
    write("test_256/Places365_test_00000001.jpg")
    assert stems(Places2(str(tmp_path)).splits())[2] == ["Places365_test_00000001"]
