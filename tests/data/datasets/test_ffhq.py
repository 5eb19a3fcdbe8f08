from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lit_inpaint.data import FFHQ
from lit_inpaint.data.datasets import ffhq

Write = Callable[..., Path]
Pack = Callable[..., Path]
NUMBERS = (0, 999, 1000, 59_999, 60_000, 69_999)


@pytest.fixture
def unpacked(write: Write, tmp_path: Path) -> Path:
    for number in NUMBERS:
        write(f"ffhq/thumbnails128x128/{number // 1000 * 1000:05}/{number:05}.png", number)
    (tmp_path / "ffhq" / "thumbnails128x128" / "LICENSE.txt").write_text("licence")
    return tmp_path / "ffhq"


def test_the_first_60000_are_to_train_and_the_others_to_validate(unpacked: Path) -> None:
    data = FFHQ(str(unpacked))
    splits = data.splits()
    assert [Path(name).stem for name in splits.train.names()] == ["00000", "00999", "01000", "59999"]
    assert [Path(name).stem for name in splits.val.names()] == ["60000", "69999"]
    assert splits.test == splits.val
    assert "official split, 6 of the 70,000 official images, test is val" in data.describe()
    assert FFHQ(str(unpacked / "thumbnails128x128")).splits() == splits


@pytest.mark.parametrize("inside", [True, False])
def test_a_zip_equals_the_folder_whether_or_not_the_folder_is_inside(
    inside: bool, unpacked: Path, pack: Pack, tmp_path: Path
) -> None:
    expected = FFHQ(str(unpacked)).splits()
    pack("zips/thumbnails128x128.zip", "ffhq" if inside else "ffhq/thumbnails128x128")
    splits = FFHQ(str(tmp_path / "zips")).splits()
    assert splits.note == expected.note
    for part in ("train", "val"):
        ours, theirs = getattr(splits, part), getattr(expected, part)
        assert ours.digest() == theirs.digest()
        assert torch.equal(ours.read(0), theirs.read(0))


def test_large_images_come_before_thumbnails(unpacked: Path, write: Write) -> None:
    write("ffhq/images1024x1024/00000/00007.png")
    assert list(FFHQ(str(unpacked)).splits().train.names()) == ["00000/00007.png"]


def test_any_complete_copy_is_split(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (unpacked / "thumbnails128x128").rename(unpacked / "my copy")
    assert FFHQ(str(unpacked)).splits().note.startswith("no images1024x1024 or other copy of all 70,000 images")
    monkeypatch.setattr(ffhq, "IMAGES", len(NUMBERS))
    splits = FFHQ(str(unpacked)).splits()
    assert [len(splits.train), len(splits.val)] == [4, 2]
