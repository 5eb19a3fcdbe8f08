"""Image files with their own channels and bits: PNG and TIFF round trips, metadata, refusals."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_files import ImageFile, read_image_file, read_png_text, write_image_file

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels_of(dtype: str, channels: int, size: tuple[int, int] = (23, 31)) -> NDArray[np.generic]:
    shape = size if channels == 1 else (*size, channels)
    if dtype == "bool":
        return np.random.default_rng(0).random(shape) < 0.5
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("dtype", "channels"),
    [("bool", 1), *((dtype, channels) for dtype in ("uint8", "uint16") for channels in (1, 2, 3, 4))],
)
def test_what_is_written_is_read_back(dtype: str, channels: int, suffix: str, tmp_path: Path) -> None:
    path, pixels = tmp_path / f"x{suffix}", pixels_of(dtype, channels)
    profile = {"icc_profile": PROFILE} if channels > 2 else {}
    write_image_file(ImageFile(pixels, {**profile, "dpi": (300.0, 150.0)}), path)
    found = read_image_file(path)
    if (dtype, channels, suffix) == ("uint16", 2, ".tif"):
        pixels = pixels[..., [0, 0, 0, 1]]
    assert found.pixels.dtype == pixels.dtype
    assert np.array_equal(found.pixels, pixels)
    assert found.metadata["dpi"] == pytest.approx((300, 150), rel=1e-3)
    assert found.metadata.get("icc_profile") == profile.get("icc_profile")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colors_are_those_that_opencv_reads(channels: int, tmp_path: Path) -> None:
    pixels = pixels_of("uint16", channels)
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "N. N."
    write_image_file(ImageFile(pixels, {"exif": exif.tobytes()}), tmp_path / "x.png", {"key": "value"})
    order = [2, 1, 0, 3][:channels]
    assert np.array_equal(cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED)[..., order], pixels)
    with Image.open(tmp_path / "x.png") as image:
        image.load()
        assert image.getexif()[ExifTags.Base.Artist] == "N. N."
    assert read_png_text(tmp_path / "x.png", "key") == "value"
    for name, compression in (("lzw.tif", 5), ("deflate.tif", 32946)):
        cv2.imwrite(str(tmp_path / name), pixels[..., order], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
        assert np.array_equal(read_image_file(tmp_path / name).pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_colors_are_turned_as_pillow_turns_8_bits(orientation: int, tmp_path: Path) -> None:
    pixels = pixels_of("uint16", 3)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    write_image_file(ImageFile(pixels, {"exif": exif.tobytes()}), tmp_path / "x.png")
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", metadata=None, extratags=[(274, 3, 1, orientation, True)])
    Image.fromarray((pixels >> 8).astype(np.uint8)).save(tmp_path / "8.png", exif=exif)
    expected = read_image_file(tmp_path / "8.png").pixels
    for name in ("x.png", "x.tif"):
        found = read_image_file(tmp_path / name).pixels
        assert found.dtype == np.uint16
        assert np.array_equal(found >> 8, expected)


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("P", (23, 31, 3), "uint8"),
        ("CMYK", (23, 31, 3), "uint8"),
        ("F", (23, 31), "uint16"),
        ("I", (23, 31), "uint16"),
        ("1", (23, 31), "bool"),
        ("LA", (23, 31, 2), "uint8"),
    ],
)
def test_modes(mode: str, shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    image = Image.fromarray(pixels_of("uint8", 3)).convert("LA" if mode == "LA" else mode)
    if mode == "F":
        image = Image.fromarray(np.asarray(image, np.float32) / 255)
    path = tmp_path / ("x.png" if mode in ("P", "1", "LA") else "x.tif")
    image.save(path)
    found = read_image_file(path)
    assert (found.pixels.shape, found.pixels.dtype) == (shape, np.dtype(dtype))
    if mode == "P":
        assert np.array_equal(found.pixels, np.asarray(image.convert("RGB")))
    image = Image.new("P", (4, 4))
    image.info["transparency"] = 0
    image.save(tmp_path / "transparent.png", transparency=0)
    assert read_image_file(tmp_path / "transparent.png").pixels.shape == (4, 4, 4)


def test_animations_and_pages_are_refused_but_not_the_pictures_of_phones(tmp_path: Path) -> None:
    frames = [Image.fromarray(pixels_of("uint8", 3)), Image.fromarray(pixels_of("uint8", 3, (23, 31))[::-1].copy())]
    for name in ("x.gif", "x.webp", "x.png", "x.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(UserError, match=r"has 2 frames or pages; save the one to use as an image of its own"):
            read_image_file(tmp_path / name)
    frames[0].save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert read_image_file(tmp_path / "phone.jpg").pixels.shape == (23, 31, 3)


def test_broken_files_are_one_line(tmp_path: Path) -> None:
    whole = BytesIO()
    Image.fromarray(pixels_of("uint8", 3)).save(whole, format="PNG")
    bomb = bytearray(whole.getvalue())
    bomb[16:24] = (50_000).to_bytes(4, "big") * 2
    write_image_file(ImageFile(pixels_of("uint16", 3)), tmp_path / "deep.png")
    deep = (tmp_path / "deep.png").read_bytes()
    for name, content in (
        ("cut.png", whole.getvalue()[:900]),
        ("bomb.png", bytes(bomb)),
        ("text.jpg", b"text"),
        ("deep.png", deep[:2000]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"cannot read .*{name}") as caught:
            read_image_file(tmp_path / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "mislabeled.jpg").write_bytes(whole.getvalue())
    assert read_image_file(tmp_path / "mislabeled.jpg").pixels.shape == (23, 31, 3)


def test_the_text_of_an_incomplete_file_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    write_image_file(ImageFile(pixels_of("uint8", 3)), path, {"key": "value"})
    assert read_png_text(path, "key") == "value"
    assert read_png_text(path, "other") is None
    path.write_bytes(path.read_bytes()[:-1])
    assert read_png_text(path, "key") is None
    path.write_bytes(b"")
    assert read_png_text(path, "key") is None
    assert read_png_text(tmp_path / "missing.png", "key") is None
