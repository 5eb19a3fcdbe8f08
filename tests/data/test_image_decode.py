import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from lit_inpaint.data import image_decode
from lit_inpaint.data.image_decode import decode_shape, read_image, read_shape
from lit_inpaint.errors import UserError

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
    assert str(image_decode.UnreadableImageError(wrapped)) == "cannot read a.jpg"


@pytest.mark.parametrize("size", [(64, 48), (37, 53), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 30}])
@pytest.mark.parametrize("turned", [False, True])
def test_jpegs_decode_as_pillow_decodes_them(
    tmp_path: Path, size: tuple[int, int], mode: str, options: dict[str, object], turned: bool
) -> None:
    """Of three decoders the fastest that can is taken; which one that is must not be seen."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    smooth = Image.fromarray(noise).resize((8, 8)).resize(size, Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "a.jpg"
    smooth.save(path, **options, **({"exif": exif} if turned else {}))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    decoded = read_image(path)
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_the_shape_in_the_header_is_that_of_the_picture(tmp_path: Path, name: str, turn: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    Image.new("RGB", (24, 20)).save(tmp_path / name, exif=exif)
    assert read_shape(tmp_path / name) == read_image(tmp_path / name).shape[1:]
    assert decode_shape((tmp_path / name).read_bytes(), "it") == read_shape(tmp_path / name)


def test_a_header_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cannot read .*a\.png as an image"):
        read_shape(tmp_path / "a.png")
    with pytest.raises(UserError, match="cannot read it as an image"):
        decode_shape(b"nothing", "it")
