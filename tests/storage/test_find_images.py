import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_inpaint.data import Folder
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.errors import UserError
from lit_inpaint.masks import RandomFromFolder
from lit_inpaint.storage import find_images as module
from lit_inpaint.storage.find_images import find_images

Write = Callable[..., Path]


@pytest.fixture
def folder(write: Write, tmp_path: Path) -> Path:
    for number, name in enumerate(("train/a.png", "train/b.png", "train/deep/c.png", "val/d.png", "val/e.png", "val/f.png")):
        write(f"set/{name}", number)
    return tmp_path / "set"


def names(path: Path) -> list[str]:
    return find_images(path).names


@pytest.mark.parametrize("target", ["..", "../..", "../../..", "."])
def test_links_that_lead_back_are_not_followed(folder: Path, target: str) -> None:
    before = names(folder)
    (folder / "train" / "deep" / "back").symlink_to(target)
    (folder / "val" / "back").symlink_to(folder)
    assert names(folder) == before
    assert names(folder / "train") == ["a.png", "b.png", "deep/c.png"]


def test_links_to_each_other_end(folder: Path) -> None:
    (folder / "train" / "other").symlink_to(folder / "val")
    (folder / "val" / "other").symlink_to(folder / "train")
    (folder / "loop").symlink_to("loop")
    assert len(names(folder)) == 6
    assert names(folder / "train") == ["a.png", "b.png", "deep/c.png", "other/d.png", "other/e.png", "other/f.png"]


def test_a_folder_that_two_links_lead_to_is_listed_once(folder: Path, write: Write) -> None:
    pool = write("pool/x.png").parent
    for name in ("2", "1"):
        (folder / "train" / name).symlink_to(pool)
    assert names(folder / "train") == ["1/x.png", "a.png", "b.png", "deep/c.png"]
    (folder / "train" / "0").symlink_to(folder / "train" / "deep")
    assert "deep/c.png" in names(folder / "train")  # its own path, not that of the link
    assert len(names(folder / "train")) == 4


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert names(tmp_path / "link") == names(folder)


def test_validation_images_do_not_get_into_training_through_links(folder: Path) -> None:
    (folder / "train" / "more").symlink_to(folder / "val")
    (folder / "train" / "g.png").symlink_to("../val/d.png")
    with pytest.warns(UserWarning, match=r"^4 images in .*train are links to validation or test images; they are left out"):
        splits = Folder(str(folder)).splits()
    assert [path.name for path in splits.train] == ["a.png", "b.png", "c.png"]
    assert [path.name for path in splits.val] == ["d.png", "e.png", "f.png"]


def test_validation_on_a_link_to_the_training_images_is_named(folder: Path) -> None:
    (folder / "val").rename(folder / "unused")
    (folder / "val").symlink_to("train")
    with pytest.warns(UserWarning, match=r"^all 3 images in .*train are validation or test images too"):
        assert len(Folder(str(folder)).splits().train) == 3


def test_other_formats_are_counted_once_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("x.heic", "y.HEIC", "val/z.raw", "notes.txt", "labels.json", ".hidden.heic"):
        (folder / name).write_bytes(b"")
    expected = rf"left out in {folder}: 3 images in other formats (2 .heic, 1 .raw; read are jpg, jpeg, jfif, png, webp, "
    with pytest.warns(UserWarning, match="left out in") as caught:
        assert len(list_images(folder)) == len(list_images(folder)) == 6
    (warning,) = caught
    assert str(warning.message).startswith(expected)
    for _ in range(2):
        RandomFromFolder(str(folder))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert line.startswith(f"warning: {expected}")


def test_folders_that_cannot_be_listed_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.rstrip("/").endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(module.os, "scandir", refuse)
    found = find_images(folder)
    assert len(found.names) == 5
    assert found.describe_skipped(folder) == (
        f"left out in {folder}: 1 folder that cannot be listed (train/deep/: Permission denied)"
    )


def test_a_missing_folder_has_no_images(tmp_path: Path) -> None:
    assert names(tmp_path / "none") == []
    with pytest.raises(UserError, match="no folder"):
        Folder(str(tmp_path / "none")).prepare_data()


@pytest.mark.parametrize("suffix", module.SUFFIXES)
def test_every_listed_format_is_read(write: Write, tmp_path: Path, suffix: str) -> None:
    path = write(f"images/a{suffix.upper()}")
    images = list_images(path.parent)
    assert list(images) == [path]
    assert images.read(0).shape == (3, 20, 24)
