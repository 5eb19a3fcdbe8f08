import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_inpaint.data import TinyImageNet
from lit_inpaint.data.datasets import tiny_imagenet

Write = Callable[..., Path]
Pack = Callable[..., Path]


@pytest.fixture
def official(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 8 and 7 training images, and 3 validation images, in the layout of the archive."""
    monkeypatch.setattr(tiny_imagenet, "TRAIN", 15)
    monkeypatch.setattr(tiny_imagenet, "TEST", 3)
    for name, count in (("n01443537", 8), ("n01629819", 7)):
        for number in range(count):
            write(f"images/tiny-imagenet-200/train/{name}/images/{name}_{number + 5}.JPEG")
    for number in range(3):
        write(f"images/tiny-imagenet-200/val/images/val_{number}.JPEG")
    return tmp_path / "images"


def test_validation_images_are_the_highest_numbers_of_each_class(official: Path) -> None:
    splits = TinyImageNet(str(official)).splits()
    assert sorted(path.stem for path in splits.train) == [
        "n01443537_5",
        "n01443537_6",
        "n01443537_7",
        "n01629819_5",
        "n01629819_6",
    ]
    assert {path.stem for path in splits.val} == {f"n01443537_{n}" for n in range(8, 13)} | {
        f"n01629819_{n}" for n in range(7, 12)
    }
    assert [path.stem for path in splits.test] == ["val_0", "val_1", "val_2"]
    assert "15 of the 15 official training images, 3 of the 3 official validation images" in splits.note
    assert not splits.fallback


def test_the_folder_itself_and_the_archive_are_read_alike(official: Path, pack: Pack) -> None:
    unpacked = TinyImageNet(str(official)).splits()
    inner = TinyImageNet(str(official / "tiny-imagenet-200")).splits()
    archive = TinyImageNet(str(pack("zipped/tiny-imagenet-200.zip"))).splits()
    beside = TinyImageNet(str(official.parent / "zipped")).splits()
    for other in (inner, archive, beside):
        assert [len(part) for part in (other.train, other.val, other.test)] == [5, 10, 3]
        assert [part.digest() for part in (other.train, other.val, other.test)] == [
            part.digest() for part in (unpacked.train, unpacked.val, unpacked.test)
        ]


def test_a_missing_class_is_counted(official: Path) -> None:
    for path in official.glob("*/train/n01629819/images/*"):
        path.unlink()
    with pytest.warns(UserWarning, match="8 of the 15 official training images"):
        TinyImageNet(str(official)).splits()


def test_without_the_official_validation_images_a_note_reports_it(official: Path) -> None:
    shutil.rmtree(official / "tiny-imagenet-200" / "val")
    with pytest.warns(UserWarning, match="0 of the 3 official validation images"):
        splits = TinyImageNet(str(official)).splits()
    assert splits.test == splits.val
    assert "test is val" in splits.note


def test_other_folders_with_train_and_val_are_not_taken_for_it(write: Write, tmp_path: Path) -> None:
    write("other/train/a.png")
    write("other/val/b.png")
    splits = TinyImageNet(str(tmp_path / "other")).splits()
    assert splits.fallback == "no tiny-imagenet-200, so not the official split"
    assert len(splits.train) == 1
