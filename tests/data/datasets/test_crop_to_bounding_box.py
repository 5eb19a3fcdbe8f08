import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint.data.datasets import crop_to_bounding_box
from lit_inpaint.data.datasets.crop_to_bounding_box import BoxCrops, square_crops
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import UnreadableImageError, read_image

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("box", "square", "fits"),
    [
        ((20, 10, 10, 10), (20, 10, 10), True),  # a square already
        ((20, 10, 30, 10), (20, 0, 30), True),  # the middle of the box is the middle of the square
        ((20, 10, 10, 31), (9, 10, 31), True),  # half a pixel to the left
        ((1, 5, 10, 30), (0, 5, 30), True),  # moved inside from the left
        ((85, 5, 10, 30), (70, 5, 30), True),  # and from the right
        ((20, 40, 30, 9), (20, 20, 30), True),  # and from below
        ((20, 1, 30, 9), (20, 0, 30), True),  # and from above
        ((3, 3, 50, 4), (3, 0, 50), True),  # as high as the image
        ((3, 3, 51, 4), (3, 0, 50), False),
        ((0, 0, 100, 50), (25, 0, 50), False),  # cut on both sides
        ((90, 3, 60, 4), (50, 0, 50), False),  # a box that exceeds the image
    ],
)
def test_the_smallest_square_around_a_box(write: Write, box: tuple[int, ...], square: tuple[int, ...], fits: bool) -> None:
    path = write("wide.png", size=(100, 50))
    found, whole = square_crops(ImageFiles.from_paths([path]), np.array([box]), "stop")
    assert found.squares.tolist() == [list(square)]
    assert whole.tolist() == [fits]
    left, top, side = square
    assert torch.equal(found.read(0), read_image(path)[:, top : top + side, left : left + side])


def test_take_keeps_squares_with_their_images(write: Write) -> None:
    files = ImageFiles.from_paths([write(f"{name}.png", number, size=(30, 20)) for number, name in enumerate("abc")])
    found, _ = square_crops(files, np.array([[i, i, 5 + i, 4] for i in range(3)]), "stop")
    taken = found.take(np.array([2, 0]))
    assert isinstance(taken, BoxCrops)
    assert [taken.name(index) for index in range(2)] == ["c", "a"]
    assert torch.equal(taken.read(0), found.read(2))
    assert taken.read(0).shape == (3, 7, 7)
    assert taken.digest() == found.take(np.array([2, 0])).digest()
    moved = BoxCrops.from_files(files, found.squares + 1)
    assert found.digest() != moved.digest()


def test_sizes_are_those_after_exif_rotation(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6  # rotated by 90 degrees
    Image.new("RGB", (60, 40)).save(tmp_path / "rotated.jpg", exif=tag)
    found, fits = square_crops(list_images(tmp_path), np.array([[0, 0, 10, 50]]), "stop")
    assert found.squares.tolist() == [[0, 5, 40]]
    assert not fits[0]
    assert found.read(0).shape == (3, 40, 40)
    assert found.shape(0) == (40, 40)


def test_an_unreadable_file_is_named_and_left_out_or_ends_the_run(write: Write, tmp_path: Path) -> None:
    write("good.png", size=(30, 30))
    (tmp_path / "bad.png").write_text("no image")
    files, boxes = list_images(tmp_path), np.array([[0, 0, 5, 5], [1, 2, 6, 6]])
    with pytest.warns(UserWarning, match=r"1 of 2 files cannot be read as images: .*bad\.png\. They are left out"):
        found, fits = square_crops(files, boxes, "skip")
    assert [found.name(0), found.squares.tolist(), len(fits)] == ["good", [[1, 2, 6]], 1]
    with pytest.raises(UserError, match=r"1 of 2 files .*bad\.png"):
        square_crops(files, boxes, "stop")
    with pytest.raises(UserError, match="1 of 1 files"):
        square_crops(files.take(np.array([0])), boxes[:1], "skip")


def test_an_image_smaller_than_its_square_is_unreadable(write: Write) -> None:
    path = write("a.png", size=(30, 30))
    found, _ = square_crops(ImageFiles.from_paths([path]), np.array([[10, 10, 20, 20]]), "stop")
    write("a.png", size=(20, 30))
    with pytest.raises(UnreadableImageError, match=r"a\.png has 20x30 pixels, its square crop exceeds them"):
        found.read(0)


def test_sizes_are_cached_until_a_folder_changes(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(crop_to_bounding_box, "MIN_INDEXED_FILES", 2)
    read: list[Path] = []
    image_size = crop_to_bounding_box._image_size

    def counting(path: Path) -> tuple[int, int]:
        read.append(path)
        return image_size(path)

    monkeypatch.setattr(crop_to_bounding_box, "_image_size", counting)
    files = ImageFiles.from_paths([write("images/a/1.png", size=(30, 20)), write("images/b/2.png", size=(20, 40))])
    boxes = np.array([[0, 0, 25, 5], [0, 0, 5, 30]])

    def measured() -> tuple[list[list[int]], int]:
        read.clear()
        return square_crops(files, boxes, "stop")[0].squares.tolist(), len(read)

    expected = [[2, 0, 20], [0, 5, 20]]
    assert measured() == (expected, 2)
    assert measured() == (expected, 2)  # the folders are so new that another change may keep their times
    for name in "ab":
        os.utime(tmp_path / "images" / name, (1e9, 1e9))
    assert measured() == (expected, 2)
    assert measured() == (expected, 0)
    write("images/b/2.png", size=(50, 50))
    os.utime(tmp_path / "images" / "b", (1e9, 1.1e9))
    assert measured() == ([[2, 0, 20], [0, 0, 30]], 2)
    cached = list((tmp_path / "cache" / "file_index").glob("*.npz"))
    assert len(cached) == 1
    cached[0].write_bytes(b"broken")
    assert measured() == ([[2, 0, 20], [0, 0, 30]], 2)
