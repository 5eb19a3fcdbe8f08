"""Read image and mask files: RGB tensors, pixels with transparency, sizes from headers, and embedded metadata.

The only reader of image files in the package. All functions apply the EXIF orientation, so that images and masks agree. A file
whose header claims more than `MAX_PIXELS` pixels is rejected before memory is allocated for it.

Images with more than 8 bits per channel become 8-bit by the range of their values:

- integers up to 255 are 8-bit values in a wider type and stay as they are;
- integers up to 65,535 are divided by 257;
- floating-point values from 0 to 1 are multiplied by 255;
- other ranges are rejected, since no convention maps them to gray levels.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.ImageFile import ImageFile
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2.functional import pil_to_tensor

from lit_inpaint.errors import UserError
from lit_inpaint.storage.regular_file import open_regular_file, read_regular_file

MAX_PIXELS = 178_956_970
"""Largest accepted number of pixels: Pillow's own limit (twice its default `MAX_IMAGE_PIXELS`), for the other decoders too."""
MAX_FILE_BYTES = 2**30
"""Largest accepted size of a file in bytes, also of one inside an archive: that of `MAX_PIXELS` 16-bit colors, uncompressed."""
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM")
"""Formats that Pillow may decode; MPO counts as JPEG. Of its others, some start programs (EPS) and most are rarely tested."""

_PAGES = frozenset(["JPEG", "MPO"])
"""Formats of one image; MPO has further ones that viewers do not show, as phones write them."""
_MAX_PIXEL_BYTES = 8
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_SCAN, _APP1 = 0xDA, 0xE1
_THREE_COLOR_SPACES = ("YCbCr", "Gray", "RGB")
_ROTATED_ORIENTATIONS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""
_PNG_WIDTH, _PNG_HEIGHT, _PNG_DEPTH, _PNG_COLOR = slice(16, 20), slice(20, 24), 24, 25
_TIFF_DEPTH = 258
_ICC_COLORS = slice(16, 20)
"""Bytes of an ICC profile that name the color space of the pixels."""
_MAX_DPI = 100_000
_DESCRIPTIVE_TAGS = frozenset(
    [
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.HostComputer,
        ExifTags.Base.Rating,
        ExifTags.Base.Copyright,
        ExifTags.Base.XPTitle,
        ExifTags.Base.XPComment,
        ExifTags.Base.XPAuthor,
        ExifTags.Base.XPKeywords,
        ExifTags.Base.XPSubject,
    ]
)
"""EXIF tags that describe the image and its camera."""
_LOW_BYTE = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B"}
"""Pillow's modes that read the low byte of each 16-bit value, by those that read the high byte."""


class UnreadableImageError(UserError):
    """The file is not an image, or is broken."""


def read_image(path: str | Path) -> Tensor:
    """Read an image as viewers show it: rotated by its EXIF orientation, in RGB, without its alpha channel.

    Args:
        path: a file that Pillow can decode, with any suffix.

    Returns:
        (3, H, W) uint8; see the module for images of more than 8 bits. Of an animation, the first frame: see `num_frames`. The
        memory layout is channels-last, which torch resizes three to four times faster.

    Raises:
        UnreadableImageError: the file is missing, not an image, or broken.
    """
    return decode_image(read_bytes(path), str(path))


def decode_image(content: bytes, location: str) -> Tensor:
    """Decode the bytes of an image file as `read_image` does.

    JPEGs are decoded by simplejpeg, and those with EXIF data or four color channels by torchvision. Both are faster than Pillow
    and give the same pixels, as all three use libjpeg-turbo. Pillow decodes other formats, and what the two reject: it reads
    more kinds of JPEG and has better error messages.

    Args:
        content: the bytes of the file.
        location: the file's name in error messages.
    """
    if (jpeg := _decode_jpeg_fast(content)) is not None:
        return jpeg
    with errors_of(location):
        image: Tensor = pil_to_tensor(_to_rgb(_decode_with_pillow(content)))
        return image


def read_pixels(path: str | Path) -> NDArray[np.uint8]:
    """Read an image with the channels that its file has.

    Args:
        path: as in `read_image`.

    Returns:
        uint8: (H, W) of a gray image, (H, W, 3) RGB, or (H, W, 4) RGB with alpha (255 = opaque).

    Raises:
        UnreadableImageError: the file is missing, not an image, or broken.
    """
    return decode_pixels(read_bytes(path), str(path))


def decode_pixels(content: bytes, location: str) -> NDArray[np.uint8]:
    """Decode the bytes of an image file as `read_pixels` does; `location` is the file's name in error messages."""
    if (gray := _decode_gray_png(content)) is not None:
        return gray
    if (jpeg := _decode_jpeg_fast(content, gray_as_one_channel=True)) is not None:
        channels_last = jpeg.permute(1, 2, 0).numpy()
        return channels_last[..., 0] if channels_last.shape[-1] == 1 else channels_last
    with errors_of(location):
        return pixels_of(_decode_with_pillow(content))


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a Pillow image to the channels and 8 bits of `read_pixels`; its EXIF orientation is not applied."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _to_uint8(np.asarray(image))
    opaque = "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else opaque))


def read_metadata(path: str | Path, gray: bool = False) -> dict[str, Any]:
    """Read what Pillow's `save` takes to keep an image's colors, print size and description in a file of its RGB pixels.

    Args:
        path: as in `read_image`.
        gray: whether the pixels will be gray values in place of RGB.

    Returns:
        `icc_profile` if it is one of RGB colors, or gray ones, `dpi` (horizontal, vertical), and `exif`. They fit the image as
        `read_image` returns it: rotated by its orientation, which is left out. A thumbnail is left out too. Broken metadata is
        none.
    """
    with suppress(UnreadableImageError):
        return decode_metadata(read_bytes(path), gray)
    return {}


def decode_metadata(content: bytes, gray: bool = False) -> dict[str, Any]:
    """Read from the bytes of an image file what `read_metadata` returns."""
    # The pixels have been read; their description may be broken.
    with suppress(Exception), open_image(content) as image:
        exif, found = image.getexif(), dict[str, Any]()
        rotated = exif.get(ExifTags.Base.Orientation, 1) in _ROTATED_ORIENTATIONS
        width, height = (image.height, image.width) if rotated else (image.width, image.height)
        profile = image.info.get("icc_profile")
        if profile and profile[_ICC_COLORS] == (b"GRAY" if gray else b"RGB "):
            found["icc_profile"] = profile
        horizontal, vertical = map(float, image.info.get("dpi", (0, 0)))
        if 0 < horizontal < _MAX_DPI and 0 < vertical < _MAX_DPI:
            found["dpi"] = (vertical, horizontal) if rotated else (horizontal, vertical)
        if encoded := _encode_exif(exif, width, height):
            found["exif"] = encoded
        return found
    return {}


def read_shape(path: str | Path) -> tuple[int, int]:
    """Read (H, W) of the image that `read_image` returns, from the file's header alone.

    Raises:
        UnreadableImageError: as `read_image`, as far as the header shows it.
    """
    try:
        with open_regular_file(path, MAX_FILE_BYTES) as file:
            return _shape(file, str(path))
    except OSError as error:
        raise _unreadable(str(path), error) from error


def decode_shape(content: bytes, location: str) -> tuple[int, int]:
    """Read (H, W) from the bytes of an image file; see `read_shape` and `decode_image`."""
    return _shape(BytesIO(content), location)


def claimed_size(content: bytes, location: str) -> tuple[int, int]:
    """Read (width, height) from the header of an image file; no pixels are decoded and no orientation is applied."""
    with errors_of(location), open_image(content) as image:
        return image.size


def _encode_exif(exif: Image.Exif, width: int, height: int) -> bytes:
    """Encode the tags that describe an image, not its file: a TIFF has those of its compression among them."""
    kept = Image.Exif()
    for tag, value in exif.items():
        if tag in _DESCRIPTIVE_TAGS:
            kept[tag] = value
    for folder in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if tags := dict(exif.get_ifd(folder)):
            for tag, side in ((ExifTags.Base.ExifImageWidth, width), (ExifTags.Base.ExifImageHeight, height)):
                if tag in tags:
                    tags[tag] = side
            kept[folder] = tags
    return kept.tobytes() if len(kept) else b""


def read_bytes(path: str | Path) -> bytes:
    """Read a file.

    Raises:
        UnreadableImageError: the file system refuses.
    """
    try:
        return read_regular_file(path, MAX_FILE_BYTES)
    except OSError as error:
        raise _unreadable(str(path), error) from error


@contextmanager
def open_image(content: bytes) -> Iterator[ImageFile]:
    """Open an image file with Pillow.

    Pillow passes pixels to its decoders in blocks of 64 kB, and copies what they leave: with rows of many megabytes, which WebP
    files of 1 kB can have, the time grows by the square of a row's size. The blocks have whole rows here.
    """
    with Image.open(BytesIO(content), formats=FORMATS) as opened:
        opened.decodermaxblock = max(opened.decodermaxblock, _MAX_PIXEL_BYTES * opened.width)
        yield opened


def require_one_frame(content: bytes, location: str) -> None:
    """Refuse an animation and a file of several pages, of which the other functions read the first.

    Raises:
        UnreadableImageError: the bytes are not an image, or broken.
        UserError: there are several frames.
    """
    _require_one(num_frames(content, location), location)


def require_one_frame_in_file(path: str | Path) -> None:
    """Do as `require_one_frame` for a file, of which little is read."""
    _require_one(num_frames_of_file(path), str(path))


def num_frames(content: bytes, location: str) -> int:
    """Count the frames or pages of an image file.

    Raises:
        UnreadableImageError: the bytes are not an image, or broken.
    """
    return _num_frames(BytesIO(content), location)


def num_frames_of_file(path: str | Path) -> int:
    """Count as `num_frames` does, without reading all of the file.

    Raises:
        UnreadableImageError: the file is missing, not an image, or broken.
    """
    try:
        with open_regular_file(path, MAX_FILE_BYTES) as file:
            return _num_frames(file, str(path))
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _require_one(frames: int, location: str) -> None:
    if frames > 1:
        raise UserError(f"{location} has {frames} frames or pages; save the one to use as an image of its own")


def _num_frames(file: BytesIO | FileIO, location: str) -> int:
    if file.read(len(_JPEG)) == _JPEG:
        return 1
    file.seek(0)
    with errors_of(location), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(file, formats=FORMATS) as opened:
            return 1 if opened.format in _PAGES else int(getattr(opened, "n_frames", 1))


@contextmanager
def errors_of(location: str) -> Iterator[None]:
    """Turn any error of a decoder into an `UnreadableImageError`: decoders raise almost anything on broken bytes."""
    try:
        yield
    except Exception as error:
        raise _unreadable(location, error) from error


def _unreadable(location: str, error: Exception) -> UnreadableImageError:
    reason = " ".join(re.sub(r"<\S+ (object at \w+|name=.*)>", "", str(error)).replace(repr(location), "").split()).rstrip(": ")
    return UnreadableImageError(f"cannot read {location} as an image ({type(error).__name__}: {reason})")


def _decode_jpeg_fast(content: bytes, gray_as_one_channel: bool = False) -> Tensor | None:
    """Decode a JPEG as (3, H, W) uint8 without Pillow; None for other formats and what the two decoders reject.

    With `gray_as_one_channel`, a gray JPEG without EXIF data is (1, H, W), which takes half the time.
    """
    if content[:2] != _JPEG:
        return None
    try:
        height, width, color_space, _ = simplejpeg.decode_jpeg_header(content)
        if height * width > MAX_PIXELS:
            return None
        if not _has_exif(content) and color_space in _THREE_COLOR_SPACES:
            one_channel = gray_as_one_channel and color_space == "Gray"
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "GRAY" if one_channel else "RGB")
            return torch.from_numpy(pixels).permute(2, 0, 1)
        buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)  # a read-only buffer would cause a warning
        image: Tensor = decode_jpeg(buffer, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    except (RuntimeError, ValueError):
        return None
    return image


def _has_exif(content: bytes) -> bool:
    """Return whether a JPEG has an EXIF segment before its pixels. A segment: a 2-byte marker, a 2-byte length, a payload."""
    offset = 2
    while offset + 4 <= len(content) and content[offset] == 0xFF and content[offset + 1] != _SCAN:
        if content[offset + 1] == _APP1 and content[offset + 4 : offset + 8] == b"Exif":
            return True
        offset += 2 + int.from_bytes(content[offset + 2 : offset + 4], "big")
    return False


def _decode_gray_png(content: bytes) -> NDArray[np.uint8] | None:
    """Decode an intact grayscale PNG of up to 8 bits, the format of most masks, as (H, W); None for all other files.

    OpenCV releases the GIL, and takes less time than Pillow. It gets only files whose checksums are right: for broken ones it
    prints messages and may return a part of the image.
    """
    if not _is_plain_gray_png(content):
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return pixels.astype(np.uint8, copy=False) if pixels is not None and pixels.ndim == 2 and pixels.itemsize == 1 else None


def _is_plain_gray_png(content: bytes) -> bool:
    """Return whether a PNG is intact, gray, of up to 8 bits, without transparency and orientation, and not too large."""
    if content[:8] != _PNG or len(content) < 57 or content[_PNG_DEPTH] > 8 or content[_PNG_COLOR] != 0:
        return False
    num_bytes = int.from_bytes(content[_PNG_WIDTH], "big") * int.from_bytes(content[_PNG_HEIGHT], "big")
    if num_bytes > MAX_PIXELS or num_bytes * content[_PNG_DEPTH] > 8 * 1040 * len(content):  # deflate packs 1,032 to 1
        return False
    offset = 8
    while offset + 12 <= len(content):  # a chunk: 4 bytes of length, its kind, its data, 4 bytes of checksum
        end = offset + 8 + int.from_bytes(content[offset : offset + 4], "big")
        kind = content[offset + 4 : offset + 8]
        if kind in (b"tRNS", b"eXIf") or crc32(content[offset + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return False
        if kind == b"IEND":
            return True
        offset = end + 4
    return False


def _decode_with_pillow(content: bytes) -> Image.Image:
    """Decode a file, rotate it by its EXIF orientation, and reduce it to 8 bits by the range of its values."""
    with open_image(content) as opened:
        image = ImageOps.exif_transpose(opened)
        if has_16_bit_colors(opened, content) and not any(high for _, high in _extrema(image)[:3]):
            image = _decode_low_bytes(content)
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_uint8(np.asarray(image)))
    return image


def _to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert integers or floats to uint8 by the range of their values; see the module."""
    low, high = values.min(), values.max()
    if low >= 0 and values.dtype.kind == "f" and high <= 1:
        return np.asarray((values * 255).round().astype(np.uint8))
    if low >= 0 and values.dtype.kind != "f" and high <= 0xFFFF:
        return np.asarray((values if high <= 0xFF else values // 257).astype(np.uint8))
    kind = "floating-point values" if values.dtype.kind == "f" else "32-bit values"
    raise ValueError(f"{kind} from {low:g} to {high:g} have no agreed gray levels; save it with 8 or 16 bits")


def has_16_bit_colors(image: Image.Image, content: bytes) -> bool:
    """Return whether Pillow drops the low byte of each value: it reads colors of 16 bits as 8 bits."""
    if image.format == "PNG":
        return image.mode in ("LA", "RGB", "RGBA") and content[_PNG_DEPTH] == 16
    return image.mode in ("RGB", "RGBA") and 16 in getattr(image, "tag_v2", {}).get(_TIFF_DEPTH, ())


def _decode_low_bytes(content: bytes) -> Image.Image:
    """Decode the low bytes of 16-bit colors, which hold the values of an 8-bit image that was saved with 16 bits."""
    with open_image(content) as opened:
        tiles: Any = opened
        tiles.tile = [tile._replace(args=_with_low_byte(tile.args)) for tile in tiles.tile]
        return ImageOps.exif_transpose(opened)


def _with_low_byte(args: Any) -> Any:
    if isinstance(args, tuple):
        return (_LOW_BYTE.get(args[0], args[0]), *args[1:])
    return _LOW_BYTE.get(args, args)


def _extrema(image: Image.Image) -> list[tuple[float, float]]:
    """Return the lowest and highest value of each channel."""
    found: Any = image.getextrema()
    return list(found) if isinstance(found[0], tuple) else [found]


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _shape(file: FileIO | BytesIO, location: str) -> tuple[int, int]:
    with errors_of(location), Image.open(file, formats=FORMATS) as image:
        # Pillow rotates TIFFs itself and reports the size after the rotation.
        swapped = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) in _ROTATED_ORIENTATIONS
        return (image.width, image.height) if swapped else (image.height, image.width)
