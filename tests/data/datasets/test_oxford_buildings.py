from collections.abc import Callable
from pathlib import Path

import pytest

from lit_inpaint.data import Oxford
from lit_inpaint.data.datasets import oxford_buildings
from lit_inpaint.errors import UserError

Write = Callable[..., Path]
Pack = Callable[..., Path]


@pytest.fixture
def unpacked(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(oxford_buildings, "IMAGES", (19, 20))
    monkeypatch.setattr(oxford_buildings, "TEST", 4)
    for number in range(20):
        write(f"oxford/oxbuild_images/all_souls_{number:06}.jpg", number)
    return tmp_path / "oxford"


def test_as_many_images_as_deepgins_are_chosen_to_test_on(unpacked: Path) -> None:
    data = Oxford(str(unpacked))
    splits = data.splits()
    assert [len(splits.train), len(splits.test)] == [16, 4]
    assert splits.val == splits.test
    assert not {*splits.train} & {*splits.test}
    assert "20 of the 20 official images, 4 of them drawn by seed 0, test is val" in data.describe()
    assert Oxford(str(unpacked), seed=1).splits().test != splits.test


def test_a_broken_image_of_the_archive_is_named_and_left_out(unpacked: Path) -> None:
    train = Oxford(str(unpacked)).splits().train
    Path(train.location(3)).write_bytes(b"")
    data = Oxford(str(unpacked), size=8, batch_size=15, workers=0)
    with pytest.warns(UserWarning, match=f"1 of 16 image files cannot be used: cannot read {train.location(3)}"):
        data.setup("fit")
    assert train.name(3) not in next(iter(data.train_dataloader()))["name"]


def test_the_error_for_the_archive_has_the_unpack_command(unpacked: Path, pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "tgz").mkdir()
    (tmp_path / "tgz" / "oxbuild_images.tgz").write_bytes(b"compressed")
    with pytest.raises(UserError, match=r"oxbuild_images\.tgz has to be unpacked, .*: tar -xzf \S+ -C \S+$"):
        Oxford(str(tmp_path / "tgz")).splits()
    pack("tar/oxbuild_images.tar", "oxford/oxbuild_images")  # unpacked with gunzip alone
    assert Oxford(str(tmp_path / "tar")).splits().test.digest() == Oxford(str(unpacked)).splits().test.digest()


def test_images_unpacked_without_a_folder_are_recognized_by_their_count(unpacked: Path, write: Write) -> None:
    flat = unpacked / "oxbuild_images"
    flat.rename(unpacked / "flat")
    assert len(Oxford(str(unpacked / "flat")).splits().test) == 4
    write("oxford/flat/another.jpg")
    assert Oxford(str(unpacked / "flat")).splits().note.startswith("no oxbuild_images: split 90:5:5 by names")
