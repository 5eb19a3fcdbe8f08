import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint.data import reading
from lit_inpaint.data.reading import read_image
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
