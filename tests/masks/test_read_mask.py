"""Mask files of all kinds: polarity, threshold, colors, bit depths, alpha, orientation, and broken files."""

import resource
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFilter

from lit_inpaint.errors import UserError
from lit_inpaint.masks import PerImageMasks, RandomFromFolder, mask_ratio, read_mask
from lit_inpaint.masks.read_mask import read_single_mask
from lit_inpaint.storage.image_decode import read_image

HOLE = (slice(4, 12), slice(5, 20))
"""Rows and columns of the hole in a file of 24x30 pixels."""


def disc(side: int = 128, radius: int = 40) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    return ((x**2 + y**2) < radius**2).astype(np.uint8) * 255


def save(array: np.ndarray, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def drawn(*background: float, hole: tuple[float, ...] = (255,), dtype: type = np.uint8) -> NDArray[np.generic]:
    """Pixels of `background` with a hole of another value; (24, 30) of one channel, or (24, 30, C)."""
    pixels = np.empty((24, 30, len(background)), dtype)
    pixels[:] = background
    pixels[HOLE] = hole
    return pixels if len(background) > 1 else pixels[..., 0]


def photo(alpha: NDArray[np.generic] | None = None) -> NDArray[np.uint8]:
    """A gradient in color, with an alpha channel if one is given."""
    rows, columns = np.mgrid[:24, :30]
    colors = np.stack([rows * 10, columns * 8, rows + columns], axis=-1).astype(np.uint8)
    return colors if alpha is None else np.dstack([colors, alpha]).astype(np.uint8)


def the_hole() -> torch.Tensor:
    return torch.from_numpy(drawn(0, hole=(1,), dtype=np.float32))[None]


CLEAR = drawn(255, hole=(0,))
PIXELS = {
    "gray.png": drawn(0),
    "gray.webp": drawn(0),
    "gray.tif": drawn(0),
    "gray.avif": drawn(0),
    "gray.gif": drawn(0),
    "gray.bmp": drawn(0),
    "red.png": drawn(0, 0, 0, hole=(255, 0, 0)),
    "blue.jpg": drawn(0, 0, 0, hole=(0, 0, 255)),
    "green_among_gray.tif": drawn(90, 90, 90, hole=(0, 200, 0)),
    "16_bits.png": drawn(0, hole=(65535,), dtype=np.uint16),
    "255_in_16_bits.png": drawn(0, hole=(255,), dtype=np.uint16),
    "255_in_16_bits.tif": drawn(0, hole=(255,), dtype=np.uint16),
    "255_in_32_bits.tif": drawn(0, hole=(255,), dtype=np.int32),
    "65535_in_32_bits.tif": drawn(0, hole=(65535,), dtype=np.int32),
    "float.tif": drawn(0, hole=(1,), dtype=np.float32),
    "erased_photo.png": photo(CLEAR),
    "erased_photo.webp": photo(CLEAR),
    "erased_black.png": drawn(0, 0, 0, 255, hole=(0, 0, 0, 0)),
    "white_strokes_on_nothing.png": drawn(0, 0, 0, 0, hole=(255, 255, 255, 255)),
    "red_strokes_on_nothing.png": drawn(255, 255, 255, 0, hole=(230, 20, 20, 255)),
    "translucent_strokes_on_nothing.png": drawn(0, 0, 0, 0, hole=(255, 255, 255, 140)),
    "opaque.png": drawn(0, 0, 0, 255, hole=(255, 255, 255, 255)),
    "transparent_everywhere.png": drawn(0, 0, 0, 0, hole=(255, 255, 255, 0)),
}


@pytest.mark.parametrize("name", PIXELS)
def test_every_kind_of_file_marks_the_same_hole(name: str, tmp_path: Path) -> None:
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}, ".avif": {"quality": 100}}
    path = save(PIXELS[name], tmp_path / "masks" / name, **options.get(Path(name).suffix, {}))
    assert torch.equal(read_mask(path), the_hole())
    assert torch.equal(PerImageMasks(str(path.parent)).mask_of(path.stem, (24, 30)).float(), the_hole())
    assert RandomFromFolder(str(path.parent)).files == (path,)


def test_palette_marks(tmp_path: Path) -> None:
    image = Image.fromarray(drawn(0, hole=(1,)), "P")
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "red.png")
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "erased.gif", transparency=1)
    for path in tmp_path.iterdir():
        assert torch.equal(read_mask(path), the_hole()), path.name


def test_8_bit_colors_in_16_bit_channels(tmp_path: Path) -> None:
    """Pillow reads the high byte of each channel, which is 0."""
    import cv2

    for name, pixels in (("a.png", drawn(0, 0, 0)), ("b.png", drawn(0, 0, 0, 255)), ("c.tif", drawn(0, 0, 0))):
        for factor in (1, 257):
            cv2.imwrite(str(tmp_path / name), pixels.astype(np.uint16) * factor)
            assert torch.equal(read_mask(tmp_path / name), the_hole()), (name, factor)
            assert read_image(tmp_path / name).unique().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (drawn(255, hole=(0,)), True),
        (drawn(255, 255, 255, hole=(255, 0, 0)), True),  # a colored mark on white
        (photo(CLEAR), True),  # erased: whatever the polarity
        (drawn(0, 0, 0, 0, hole=(0, 0, 0, 255)), True),  # black strokes on a transparent canvas
        (drawn(255, 255, 255, 255, hole=(255, 255, 255, 0)), True),
        (drawn(0), False),
    ],
)
def test_black_marks_the_hole(pixels: NDArray[np.uint8], expected: bool, tmp_path: Path) -> None:
    mask = read_mask(save(pixels, tmp_path / "m.png"), white_is_hole=False)
    assert torch.equal(mask, the_hole() if expected else 1 - the_hole())


def test_black_and_white_beside_transparent_pixels_is_refused(tmp_path: Path) -> None:
    pixels = drawn(0, 0, 0, 255, hole=(255, 255, 255, 255))
    pixels[:2, :, 3] = 0
    with pytest.raises(UserError, match=r"^the mask .*m\.png has two colors and transparent pixels, .*; save it in black"):
        read_mask(save(pixels, tmp_path / "m.png"))


@pytest.mark.parametrize("name", ["m.png", "m.jpg", "m.tif", "m.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_rotated_like_its_image(name: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for mode in ("L", "RGB"):
        Image.fromarray(drawn(0)).convert(mode).save(tmp_path / name, exif=exif, quality=100)
        mask = read_mask(tmp_path / name)
        assert int(mask.sum()) == 8 * 15
        assert torch.equal(mask, (read_image(tmp_path / name)[:1] > 127).float())


def test_values_without_agreed_levels_are_named(tmp_path: Path) -> None:
    for name, pixels in (("big", drawn(0, hole=(70_000,), dtype=np.int32)), ("float", drawn(0, hole=(9.5,), dtype=np.float32))):
        with pytest.raises(UserError, match=rf"^cannot read the mask .*{name}\.tif as an image .*from 0 to .*8 or 16 bits"):
            read_mask(save(pixels, tmp_path / f"{name}.tif"))


@pytest.mark.parametrize("name", ["soft.jpg", "soft.png"])
def test_soft_edges_are_thresholded(name: str, tmp_path: Path) -> None:
    soft = np.array(Image.fromarray(disc()).filter(ImageFilter.GaussianBlur(2)))
    path = save(soft, tmp_path / name, quality=30)
    gray = np.array(Image.open(path))
    assert ((gray > 0) & (gray < 255)).mean() > 0.1  # the file has soft edges
    mask = read_mask(path)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask_ratio(mask).item() == pytest.approx((disc() > 0).mean(), rel=0.02)
    assert (gray > 0).mean() > 1.2 * mask_ratio(mask).item()  # a threshold of 0 would widen the hole


def test_polarity_size_and_color_modes(tmp_path: Path) -> None:
    path = save(disc(), tmp_path / "m.png")
    mask = read_mask(path)
    assert mask.shape == (1, 128, 128)
    assert mask.dtype == torch.float32
    assert mask[0, 64, 64] == 1
    assert mask[0, 0, 0] == 0
    assert torch.equal(read_mask(path, white_is_hole=False), 1 - mask)
    assert read_mask(path, size=(32, 64)).shape == (1, 32, 64)
    third = read_mask(save(disc(side=96, radius=31), tmp_path / "96.png"), size=(32, 32))
    assert set(third.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(third, third.flip(1, 2))  # each pixel comes from below its center: no shift
    for mode in ("1", "LA", "RGB", "RGBA", "P"):
        Image.open(path).convert(mode).save(tmp_path / f"{mode}.png")
        assert torch.equal(read_mask(tmp_path / f"{mode}.png"), mask)


def test_threshold_is_half(tmp_path: Path) -> None:
    path = save(np.array([[127, 128]], np.uint8), tmp_path / "m.png")
    assert read_mask(path).flatten().tolist() == [0, 1]
    assert read_mask(path, white_is_hole=False).flatten().tolist() == [1, 0]


def test_threshold_of_16_bit_grayscale_is_half(tmp_path: Path) -> None:
    pixels = np.array([[0, 200, 32000, 33500, 65535]], dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    assert read_mask(tmp_path / "deep.png").flatten().tolist() == [0, 0, 0, 1, 1]


def test_palette_with_white_at_index_0(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 0]], np.uint8), mode=None).convert("P")
    image.putdata([0, 1, 0])
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "palette.png")
    assert read_mask(tmp_path / "palette.png").flatten().tolist() == [1, 0, 1]


def test_unreadable_files_are_named_in_the_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no more")
    for path in (broken, tmp_path / "missing.png"):
        with pytest.raises(UserError, match=path.name):
            read_mask(path)
    truncated = save(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8), tmp_path / "truncated.png")
    truncated.write_bytes(truncated.read_bytes()[:900])
    with pytest.raises(UserError, match=r"truncated\.png"):
        read_mask(truncated)
    ones = save(disc() // 255, tmp_path / "ones.png")
    with pytest.raises(UserError, match=r"ones\.png holds only the gray values 0 and 1"):
        read_mask(ones)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_frames_that_may_be_several_masks_are_refused(kind: str, tmp_path: Path) -> None:
    first, second = (Image.fromarray(drawn(0, hole=(255,)) ^ np.uint8(flip)) for flip in (0, 255))
    several, one = tmp_path / "several", tmp_path / "one"
    first.save(several, kind, save_all=True, append_images=[second])
    first.save(one, kind)
    with pytest.raises(UserError, match="several has 2 frames or pages; save the one to use"):
        read_single_mask(several, True)
    expected = np.zeros((24, 30), bool)
    expected[HOLE] = True
    assert np.array_equal(read_single_mask(one, True), expected)
    assert np.array_equal(read_mask(several)[0] > 0, expected), "folders of training masks use the first frame"
    several.write_bytes(several.read_bytes()[:40])
    with pytest.raises(UserError, match=f"cannot read the mask {several}"):
        read_single_mask(several, True)


def _png_with_header(width: int, height: int, color: int = 0) -> bytes:
    """An otherwise valid PNG whose header claims another size."""
    from io import BytesIO
    from struct import pack
    from zlib import crc32

    file = BytesIO()
    Image.fromarray(drawn(0)).convert({0: "L", 6: "RGBA"}[color]).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = pack(">II", width, height)
    content[29:33] = pack(">I", crc32(content[12:29]))
    return bytes(content)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (13_000, 13_000)])
@pytest.mark.parametrize("color", [0, 6])
def test_a_header_that_claims_too_much_takes_no_memory(
    size: tuple[int, int], color: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.png").write_bytes(_png_with_header(*size, color))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(UserError, match=r"^cannot read the mask .*m\.png as an image"):
        read_mask(tmp_path / "m.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 900_000  # KiB
    assert time.process_time() - start < 2
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["gray.png", "gray.jpg", "red.png", "rotated.jpg", "gray.webp", "255_in_32_bits.tif"])
def test_mutated_files_are_read_or_named(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / name
    save(PIXELS.get(name, drawn(0)), path, **({"exif": exif} if name.startswith("rotated") else {}))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        mutated = bytearray(content[: rng.integers(1, len(content) + 1)] if rng.random() < 0.3 else content)
        for place in rng.integers(0, len(mutated), rng.integers(1, 4)):
            mutated[place] = rng.integers(256)
        path.write_bytes(mutated)
        with suppress(UserError):
            read_mask(path)
    assert "libpng" not in capfd.readouterr().err
