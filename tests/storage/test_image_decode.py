import re
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from lit_inpaint.errors import UserError
from lit_inpaint.storage import image_decode
from lit_inpaint.storage.image_decode import decode_image, decode_shape, read_image, read_shape

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "L"), ("a.png", "RGBA"), ("a.png", "LA"), ("a.png", "P"), ("a.png", "1"), ("a.jpg", "CMYK"), ("a.tif", "CMYK")],
)
def test_every_mode_becomes_rgb(write: Write, name: str, mode: str) -> None:
    image = read_image(write(name, mode=mode))
    assert image.shape == (3, 20, 24)
    assert image.dtype == torch.uint8
    assert image.float().std() > 10


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (200, 100, 50, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png")[:, 0, 0].tolist() == [200, 100, 50]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    gray = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(gray).save(tmp_path / f"deep.{suffix}")
    assert read_image(tmp_path / f"deep.{suffix}")[:, 0].tolist() == [[0, 1, 128, 255]] * 3


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to display
    image.save(tmp_path / "rotated.png", exif=exif)
    decoded = read_image(tmp_path / "rotated.png")
    assert decoded.shape == (3, 8, 4)
    assert decoded[0, 0, 3] == 255


def test_the_content_determines_the_format_not_the_suffix(write: Write) -> None:
    path = write("image.png")
    assert torch.equal(read_image(path.rename(path.with_suffix(".jpg"))), read_image(write("image.png")))


def _broken(write: Write, kind: str) -> Path:
    path = write(f"{kind}.jpg", size=(200, 200))
    data = {"truncated": path.read_bytes()[:2000], "empty": b"", "text": b"this is no image"}
    if kind in data:
        path.write_bytes(data[kind])
    else:
        path.unlink()
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "missing"])
def test_the_error_for_a_broken_file_is_one_line_with_its_name(write: Write, kind: str) -> None:
    path = _broken(write, kind)
    with pytest.raises(UserError, match=re.escape(f"cannot read {path} as an image")) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_a_workers_traceback_is_removed() -> None:
    wrapped = (
        "Caught it in worker 0.\nTraceback\n  File x\nlit_inpaint.storage.image_decode.UnreadableImageError: cannot read a.jpg"
    )
    assert str(image_decode.UnreadableImageError(wrapped)) == "cannot read a.jpg"


@pytest.mark.parametrize("size", [(64, 48), (37, 53), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 30}])
@pytest.mark.parametrize("rotated", [False, True])
def test_jpegs_equal_pillows_pixel_for_pixel(
    tmp_path: Path, size: tuple[int, int], mode: str, options: dict[str, object], rotated: bool
) -> None:
    """All three decoders give the same pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    smooth = Image.fromarray(noise).resize((8, 8)).resize(size, Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "a.jpg"
    smooth.save(path, **options, **({"exif": exif} if rotated else {}))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    decoded = read_image(path)
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_shape_in_the_header_equals_that_of_the_image(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (24, 20)).save(tmp_path / name, exif=exif)
    assert read_shape(tmp_path / name) == read_image(tmp_path / name).shape[1:]
    assert decode_shape((tmp_path / name).read_bytes(), "it") == read_shape(tmp_path / name)


def test_the_error_for_an_unreadable_header_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cannot read .*a\.png as an image"):
        read_shape(tmp_path / "a.png")
    with pytest.raises(UserError, match="cannot read it as an image"):
        decode_shape(b"nothing", "it")


@pytest.mark.parametrize("format", ["EPS", "PDF", "TGA", "ICO", "PCX"])
def test_formats_that_are_not_listed_are_not_decoded(format: str, tmp_path: Path) -> None:
    """Pillow would start Ghostscript for EPS."""
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", format=format)
    for read in (read_image, read_shape, image_decode.read_pixels):
        with pytest.raises(UserError, match=r"^cannot read \S+a.png as an image \(UnidentifiedImageError"):
            read(tmp_path / "a.png")


def test_a_small_file_of_very_wide_rows_takes_no_minute() -> None:
    """Its header claims 33 megapixels, which are few, in two rows, which Pillow copied a thousand times."""
    file = BytesIO()
    frames = [Image.new("RGB", (4, 2), color) for color in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    content = bytearray(file.getvalue())
    assert content[12:16] == b"VP8X"
    content[24:27] = (2**24 - 9).to_bytes(3, "little")
    start = time.process_time()
    assert decode_image(bytes(content), "wide.webp").shape == (3, 2, 2**24 - 8)
    assert time.process_time() - start < 8
