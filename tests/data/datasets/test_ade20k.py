from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lit_inpaint.data import ADE20K
from lit_inpaint.data.image_source import ImageSource
from lit_inpaint.errors import UserError

Write = Callable[..., Path]
Pack = Callable[..., Path]


@pytest.fixture
def unpacked(write: Write, tmp_path: Path) -> Path:
    for number in range(1, 11):
        write(f"ade/ADEChallengeData2016/images/training/ADE_train_{number:08}.jpg", number)
        write(f"ade/ADEChallengeData2016/annotations/training/ADE_train_{number:08}.png", number, mode="L")
    for number in (1, 2):
        write(f"ade/ADEChallengeData2016/images/validation/ADE_val_{number:08}.jpg", 20 + number)
    return tmp_path / "ade"


def _names(images: ImageSource) -> list[str]:
    return [Path(images.location(index)).stem for index in range(len(images))]


def test_the_official_folders_are_the_split(unpacked: Path, write: Write) -> None:
    data = ADE20K(str(unpacked))
    splits = data.splits()
    assert _names(splits.train) == [f"ADE_train_{number:08}" for number in range(1, 11)]
    assert _names(splits.val) == ["ADE_val_00000001", "ADE_val_00000002"]
    assert splits.test == splits.val
    assert "10 of the 20,210 official training images, 2 of the 2,000 official validation images" in data.describe()
    write("ade/release_test/testing/ADE_test_00000001.jpg")
    splits = ADE20K(str(unpacked)).splits()
    assert _names(splits.test) == ["ADE_test_00000001"]
    assert "1 of the 3,352 official test images" in splits.note
    assert ADE20K(str(unpacked / "ADEChallengeData2016")).splits().train.digest() == splits.train.digest()


def test_a_zip_equals_the_folder(unpacked: Path, pack: Pack, tmp_path: Path) -> None:
    expected = ADE20K(str(unpacked), subset=4).splits()
    archive = pack("zips/ADEChallengeData2016.zip", "ade")
    for root in (archive, archive.parent):
        splits = ADE20K(str(root), subset=4).splits()
        assert splits.note == expected.note
        assert splits.train.digest() == expected.train.digest()
        assert torch.equal(splits.val.read(1), expected.val.read(1))


@pytest.mark.parametrize("top", ["ADE20K_2016_07_26/images", "ADE20K_2021_17_01/images/ADE"])
def test_label_images_of_the_full_releases_are_left_out(top: str, write: Write, tmp_path: Path) -> None:
    for part, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        folder = f"{top}/{part}/a/abbey"
        for file in (f"{name}.jpg", f"{name}_seg.png", f"{name}_parts_1.png", f"{name}/instance_000_{name}.png"):
            write(f"{folder}/{file}")
    splits = ADE20K(str(tmp_path)).splits()
    assert [_names(splits.train), _names(splits.val)] == [["ADE_train_00000001"], ["ADE_val_00000001"]]


def test_a_subset_is_random_or_listed(unpacked: Path, tmp_path: Path) -> None:
    chosen = ADE20K(str(unpacked), subset=4).splits()
    assert len(chosen.train) == 4
    assert "4 of them drawn by seed 0" in chosen.note
    assert (
        chosen.train == ADE20K(str(unpacked), subset=4).splits().train != ADE20K(str(unpacked), subset=4, seed=1).splits().train
    )
    listed = tmp_path / "challenge.txt"
    listed.write_text("images/training/ADE_train_00000007.jpg\n\nADE_train_00000002\n")
    splits = ADE20K(str(unpacked), subset=str(listed)).splits()
    assert _names(splits.train) == ["ADE_train_00000002", "ADE_train_00000007"]
    assert "2 of them listed in challenge.txt" in splits.note
    assert len(splits.val) == 2
    assert len(ADE20K(str(unpacked), subset=99).splits().train) == 10


def test_errors_in_a_subset_are_one_line(unpacked: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    with pytest.raises(UserError, match=r"no list of images at .*list\.txt; name a text file"):
        ADE20K(str(unpacked), subset=str(listed)).splits()
    listed.write_text("\n")
    with pytest.raises(UserError, match=r"list\.txt is empty"):
        ADE20K(str(unpacked), subset=str(listed)).splits()
    listed.write_text("".join(f"ADE_train_{number:08}.jpg\n" for number in range(5, 16)))
    missing = "ADE_train_00000011, ADE_train_00000012, ADE_train_00000013 and 2 more$"
    with pytest.raises(UserError, match=rf"names 5 of 11 images that are not there to train on: {missing}"):
        ADE20K(str(unpacked), subset=str(listed)).splits()
    with pytest.raises(UserError, match=r"data\.subset is 0, it must be at least 1"):
        ADE20K(str(unpacked), subset=0)
