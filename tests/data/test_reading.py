import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint.data import reading
from lit_inpaint.data.reading import Shelf, images_in, read_image
from lit_inpaint.types import UserError

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "L"), ("a.png", "RGBA"), ("a.png", "LA"), ("a.png", "P"), ("a.png", "1"), ("a.jpg", "CMYK"), ("a.tif", "CMYK")],
)
def test_every_mode_becomes_rgb(write: Write, name: str, mode: str) -> None:
    picture = read_image(write(name, mode=mode))
    assert picture.shape == (3, 20, 24)
    assert picture.dtype == torch.uint8
    assert picture.float().std() > 10


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (200, 100, 50, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png")[:, 0, 0].tolist() == [200, 100, 50]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    grey = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / f"deep.{suffix}")
    assert read_image(tmp_path / f"deep.{suffix}")[:, 0].tolist() == [[0, 1, 128, 255]] * 3


def test_exif_turns_the_picture(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    picture = read_image(tmp_path / "turned.png")
    assert picture.shape == (3, 8, 4)
    assert picture[0, 0, 3] == 255


def test_content_counts_not_the_suffix(write: Write) -> None:
    path = write("photo.png")
    assert torch.equal(read_image(path.rename(path.with_suffix(".jpg"))), read_image(write("photo.png")))


def _broken(write: Write, kind: str) -> Path:
    path = write(f"{kind}.jpg", size=(200, 200))
    data = {"truncated": path.read_bytes()[:2000], "empty": b"", "text": b"this is no image"}
    if kind in data:
        path.write_bytes(data[kind])
    else:
        path.unlink()
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "missing"])
def test_a_broken_file_is_one_line_that_names_it(write: Write, kind: str) -> None:
    path = _broken(write, kind)
    with pytest.raises(UserError, match=re.escape(f"cannot read {path} as an image")) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_a_workers_traceback_is_cut_off() -> None:
    wrapped = "Caught it in worker 0.\nTraceback\n  File x\nlit_inpaint.data.reading.UnreadableImageError: cannot read a.jpg"
    assert str(reading.UnreadableImageError(wrapped)) == "cannot read a.jpg"


def test_images_are_found_at_any_depth_in_any_case_and_sorted(write: Write, tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.jpeg", "c.WebP", "d.bmp", "e.TIFF", ".hidden.png", "__MACOSX/f.png", ".cache/g.png"):
        write(name)
    (tmp_path / "notes.txt").write_text("no image")
    found = [path.relative_to(tmp_path).as_posix() for path in images_in(tmp_path)]
    assert found == ["a.jpeg", "b/1.png", "b/2.JPG", "c.WebP", "d.bmp", "e.TIFF"]


def test_verified_files_that_are_broken_are_named_and_left_out(write: Write) -> None:
    files = [write("1.png", 1), _broken(write, "empty"), _broken(write, "text"), write("2.png", 2, size=(1, 1))]
    with pytest.warns(UserWarning, match=r"2 of 4 .*empty\.jpg.*text\.jpg.*left out"):
        shelf = Shelf(files, "skip", cache=False)
    assert [shelf[i][1] for i in range(len(shelf))] == ["1", "2"]
    with pytest.raises(UserError, match=r"2 of 4 .*empty\.jpg"):
        Shelf(files, "stop", cache=False)


def test_many_broken_files_are_counted(write: Write) -> None:
    good, bad = write("0.png"), _broken(write, "empty")
    with pytest.warns(UserWarning, match=r"25 of 26 .*and 15 more\. They") as caught:
        Shelf([good] + [bad] * 25, "skip", cache=False)
    assert str(caught[0].message).count("cannot read") == 10


def test_nothing_readable_stops_even_when_skipping(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = _broken(write, "empty")
    with pytest.raises(UserError, match=r"1 of 1 image files cannot be used"):
        Shelf([bad], "skip", cache=False)
    monkeypatch.setattr(reading, "VERIFIED_FILES", 0)
    with pytest.warns(UserWarning, match="takes its place"), pytest.raises(UserError, match="none of the 2"):
        Shelf([bad, bad], "skip", cache=False)[0]


def test_in_a_large_set_the_next_readable_image_takes_the_place(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "VERIFIED_FILES", 3)
    files = [write("1.png", 1), write("2.png", 2), _broken(write, "text"), _broken(write, "empty")]
    shelf = Shelf(files, "skip", cache=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        taken = [shelf[2] for _ in range(3)]
    assert [name for _, name in taken] == ["1"] * 3
    assert torch.equal(taken[0][0], read_image(files[0]))
    assert len(caught) == 2  # one line for each file, once
    with pytest.raises(UserError, match=r"text\.jpg"):
        Shelf(files, "stop", cache=False)[2]


def test_the_cache_serves_pictures_up_to_its_cap(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write(f"{i}.png", i) for i in range(3)]
    monkeypatch.setattr(reading, "CACHE_BYTES", 2 * 3 * 20 * 24)
    shelf = Shelf(files, "skip", cache=True)
    before = [shelf[i][0] for i in range(3)]
    for i in range(3):
        write(f"{i}.png", 9)
    assert [torch.equal(shelf[i][0], before[i]) for i in range(3)] == [True, True, False]


def test_names_are_unique_among_class_folders(write: Write) -> None:
    shelf = Shelf([write("x/abbey/1.jpg"), write("x/beach/1.jpg")], "skip", cache=False)
    assert [shelf[0][1], shelf[1][1]] == ["abbey/1", "beach/1"]
    assert Shelf([write("x/abbey/1.jpg")], "skip", cache=False)[0][1] == "1"
