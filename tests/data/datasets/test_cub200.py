import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lit_inpaint.data.datasets.cub200 import CUB200
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import read_image

Write = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:.*of the 11,788 official images")


@pytest.fixture
def birds(write: Write, tmp_path: Path) -> Path:
    """24 birds of 40x30 pixels in the official layout; the square crops of 5 and 6 do not fit."""
    home = tmp_path / "CUB_200_2011"
    images, boxes = [], []
    for number in range(1, 25):
        name = f"{number % 3 + 1:03}.Class/Bird_{number:04}.jpg"
        write(f"CUB_200_2011/images/{name}", number, size=(40, 30))
        images.append(f"{number} {name}")
        width = {5: 31.0, 6: 40.0}.get(number, 12.0)
        boxes.append(f"{number} {10.0 if width < 30 else 0.0} 20.0 {width} 8.0")
    (home / "images.txt").write_text("\n".join(images) + "\n")
    (home / "bounding_boxes.txt").write_text("\n".join(boxes) + "\n")
    return home


def test_square_crops_that_fit_are_split_60_20_20(birds: Path, tmp_path: Path) -> None:
    data = CUB200(str(tmp_path))
    splits = data.splits()
    parts = [[part.name(index) for index in range(len(part))] for part in (splits.train, splits.val, splits.test)]
    assert [len(part) for part in parts] == [14, 4, 4]
    numbers = sorted(int(name.rsplit("_", 1)[-1]) for part in parts for name in part)
    assert numbers == [number for number in range(1, 25) if number not in (5, 6)]
    expected = "square crops of 22 birds, the paper has 9,581; 24 of the 11,788 official images; random split 60:20:20, seed 0"
    assert splits.note == expected
    for index in range(4):
        path = birds / "images" / f"{splits.val.name(index)}.jpg"
        assert torch.equal(splits.val.read(index), read_image(path)[:, 18:30, 10:22])
    assert CUB200(str(birds)).splits().note == expected
    other = CUB200(str(tmp_path), seed=1).splits().val
    assert other.digest() != splits.val.digest() == CUB200(str(tmp_path)).splits().val.digest()


def test_a_batch_has_the_requested_size(birds: Path, tmp_path: Path) -> None:
    data = CUB200(str(tmp_path), size=16, batch_size=2, workers=0)
    data.setup("fit")
    assert next(iter(data.train_dataloader()))["image"].shape == (2, 3, 16, 16)


@pytest.mark.parametrize("name", ["images.txt", "bounding_boxes.txt"])
def test_the_error_for_a_missing_or_empty_list_is_one_line(birds: Path, tmp_path: Path, name: str) -> None:
    (birds / name).write_text("")
    with pytest.raises(UserError, match=re.escape(f"{birds / name} is empty")):
        CUB200(str(tmp_path)).splits()
    (birds / name).unlink()
    with pytest.raises(UserError, match=re.escape(f"{birds / name} is missing")) as caught:
        CUB200(str(tmp_path)).splits()
    assert "\n" not in str(caught.value)


def test_missing_listed_images_are_counted_and_named(birds: Path, tmp_path: Path) -> None:
    for number in (3, 6, 9, 12):
        (birds / "images" / f"001.Class/Bird_{number:04}.jpg").unlink()
    with pytest.raises(
        UserError, match=r"4 of 24 images in .*images\.txt are not in .*\(001\.Class/Bird_0003\.jpg, .*1 more\)"
    ) as caught:
        CUB200(str(tmp_path)).splits()
    assert "\n" not in str(caught.value)


def test_a_box_of_another_image_is_refused(birds: Path, tmp_path: Path) -> None:
    with (birds / "bounding_boxes.txt").open("a") as file:
        file.write("99 1.0 1.0 5.0 5.0\n")
    with pytest.raises(UserError, match=r"list different images \(99\)"):
        CUB200(str(tmp_path)).splits()


@pytest.mark.parametrize("text", ["1.0 2.0 3.0", "a b c d", "1.0 1.0 0.0 5.0", "nan 1.0 5.0 5.0", "inf 1.0 5.0 5.0"])
def test_the_error_for_a_broken_box_has_its_text(birds: Path, tmp_path: Path, text: str) -> None:
    path = birds / "bounding_boxes.txt"
    path.write_text(re.sub(r"(?m)^7 .*$", f"7 {text}", path.read_text()))
    with pytest.raises(UserError, match=re.escape(f"for image 7, but '{text}'")):
        CUB200(str(tmp_path)).splits()


def test_the_error_for_a_packed_archive_has_the_unpack_command(tmp_path: Path) -> None:
    (tmp_path / "CUB_200_2011.tgz").write_bytes(b"")
    with pytest.raises(UserError, match=r"tar -xzf .*CUB_200_2011\.tgz"):
        CUB200(str(tmp_path)).splits()


def test_any_other_folder_is_split_as_by_folder_with_a_note(write: Write, tmp_path: Path) -> None:
    for name in ("train/1.png", "val/2.png"):
        write(name)
    assert re.search(r"\(whole images, as there is no images\.txt .*test is val\)", CUB200(str(tmp_path)).describe())
