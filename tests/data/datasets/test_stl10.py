import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from lit_inpaint.data.datasets.stl10 import STL10, STL10Binary
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import UnreadableImageError

Write = Callable[..., Path]
IMAGE_BYTES = 3 * 96 * 96


@pytest.fixture
def five(tmp_path: Path) -> Path:
    """Five noise images in the layout of STL-10."""
    path = tmp_path / "stl10_binary" / "unlabeled_X.bin"
    path.parent.mkdir()
    np.random.default_rng(0).integers(0, 256, 5 * IMAGE_BYTES, dtype=np.uint8).tofile(path)
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A sparse file of the official size: images 0 and 99,999 have pixels 1 and 2, all others 0."""
    path = tmp_path / "unlabeled_X.bin"
    with path.open("wb") as file:
        file.write(b"\1" * IMAGE_BYTES)
        file.seek(99_999 * IMAGE_BYTES)
        file.write(b"\2" * IMAGE_BYTES)
    return path


def test_images_equal_torchvisions_pixel_for_pixel(five: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    theirs = torchvision.datasets.STL10(str(five.parents[1]), split="unlabeled")
    ours = STL10Binary(five, np.arange(5))
    assert len(theirs) == len(ours)
    for index in range(5):
        image = ours.read(index)
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(theirs[index][0]))
        assert image.stride() == (1, 288, 3)  # channels-last, as every image that is read


def test_take_keeps_position_name_and_location(five: Path) -> None:
    images = STL10Binary(five, np.arange(5))
    taken = images.take(np.array([4, 2, 1])).take(np.array([2, 0]))
    assert [taken.name(index) for index in range(len(taken))] == ["unlabeled_000001", "unlabeled_000004"]
    assert torch.equal(taken.read(1), images.read(4))
    assert taken.location(0) == f"{five}, image 1"
    assert taken.digest() == images.take(np.array([1, 4])).digest() != images.take(np.array([4, 1])).digest()


def test_a_pickled_source_has_no_pixels(five: Path) -> None:
    images = STL10Binary(five, np.arange(5))
    first = images.read(3)
    pickled = pickle.dumps(images)
    assert len(pickled) < IMAGE_BYTES / 10
    assert torch.equal(pickle.loads(pickled).read(3), first)


def test_writing_to_an_image_does_not_change_the_file(five: Path) -> None:
    images = STL10Binary(five, np.arange(5))
    before = five.read_bytes()
    images.read(0).zero_()
    assert images.read(0).any()
    assert five.read_bytes() == before


def test_the_unlabeled_images_are_split_80_10_10_by_the_seed(whole: Path, tmp_path: Path) -> None:
    data = STL10(str(tmp_path), size=16, batch_size=4, workers=0, val_images=3)
    splits = data.splits()
    parts = [part.indices for part in (splits.train, splits.val, splits.test) if isinstance(part, STL10Binary)]
    assert [len(part) for part in parts] == [80_000, 10_000, 10_000]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(100_000))
    assert all((np.diff(part) > 0).all() for part in parts)
    other = STL10(str(tmp_path), seed=1).splits().val
    assert isinstance(other, STL10Binary)
    assert not np.array_equal(other.indices, parts[1])
    assert "80,000 train, 3 val, 10,000 test images (random split 80:10:10, seed 0)" in data.describe()
    everything = STL10Binary(whole, np.arange(100_000))
    assert everything.read(0).unique().tolist() == [1]
    assert everything.read(99_999).unique().tolist() == [2]


def test_batches_keep_the_contract_with_loader_processes(whole: Path, tmp_path: Path) -> None:
    data = STL10(str(tmp_path), size=16, batch_size=3, workers=1)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (3, 3, 16, 16)
    assert all(re.fullmatch(r"unlabeled_\d{6}", name) for name in batch["name"])


def test_the_layout_of_torchvision_is_found(tmp_path: Path, whole: Path) -> None:
    (tmp_path / "stl10_binary").mkdir()
    whole.rename(tmp_path / "stl10_binary" / whole.name)
    assert len(STL10(str(tmp_path)).splits().train) == 80_000


def test_the_error_for_a_truncated_binary_has_both_sizes(five: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 138,240 bytes instead of 2,764,800,000, so it is not whole") as caught:
        STL10(str(tmp_path)).splits()
    assert "\n" not in str(caught.value)
    assert str(five) in str(caught.value)


def test_an_image_beyond_the_end_of_the_file_is_unreadable(five: Path) -> None:
    images = STL10Binary(five, np.arange(6))
    with pytest.raises(UnreadableImageError, match=r"unlabeled_X\.bin, image 5 lies beyond the end"):
        images.read(5)
    with pytest.raises(UnreadableImageError, match=r"cannot read .*nowhere"):
        STL10Binary(Path("nowhere"), np.arange(1)).read(0)


def test_the_error_for_a_packed_archive_has_the_unpack_command(tmp_path: Path) -> None:
    (tmp_path / "stl10_binary.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"tar -xzf .*stl10_binary\.tar\.gz") as caught:
        STL10(str(tmp_path)).splits()
    assert "\n" not in str(caught.value)


def test_any_other_folder_is_split_as_by_folder_with_a_note(write: Write, tmp_path: Path) -> None:
    for name in ("train/1.png", "val/2.png"):
        write(name)
    data = STL10(str(tmp_path))
    assert re.search(r"1 train, 1 val, 1 test images \(.*no unlabeled_X\.bin.*test is val\)", data.describe())
