"""Read images with the channels and bits of their files, and write them so as PNG or TIFF, with their metadata."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import (
    UnreadableImageError,
    decode_metadata,
    errors_of,
    has_16_bit_colors,
    open_image,
    read_bytes,
    require_one_frame,
)
from lit_inpaint.storage.output_files import write_output

SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes of the files that `write_image` writes: formats that change no pixel."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_COLOR, _GRAY_ALPHA = 25, 4
"""The byte of a PNG that has its color type."""
_PNG_COLOR_TYPES = {2: _GRAY_ALPHA, 3: 2, 4: 6}
_UP = 2
"""PNG's filter that stores differences from the row above."""
_16_BITS = 0xFFFF
_OWN_MODES = frozenset(["1", "L", "LA", "RGB", "RGBA"])


@dataclass
class ImageFile:
    """The pixels of an image as its file has them.

    Args:
        pixels: (H, W) gray, (H, W, 2) gray with alpha, (H, W, 3) RGB or (H, W, 4) RGB with alpha; uint8, uint16, or bool if the
            file has one bit.
        metadata: as `lit_inpaint.storage.image_decode.read_metadata` returns it.
    """

    pixels: NDArray[Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def to_pillow(self) -> Image.Image:
        """Return a Pillow image with the metadata in its `info`.

        Raises:
            UserError: the colors have 16 bits, for which Pillow has no mode.
        """
        if self.pixels.dtype == np.uint16 and self.pixels.ndim == 3:
            raise UserError("Pillow has no mode for colors of 16 bits; name an output file, .png or .tif")
        image = Image.fromarray(self.pixels)
        image.info.update(self.metadata)
        return image


def read_image_file(path: str | Path) -> ImageFile:
    """Read an image rotated by its EXIF orientation, with its own channels and bits.

    An image with a palette becomes RGB or RGBA; CMYK and other color spaces become RGB. Gray values of 32 bits, which must lie
    within [0, 65535], or in [0, 1] if they are floats, become 16 bits.

    Args:
        path: a file that Pillow can decode, with any suffix.

    Raises:
        UnreadableImageError: the file is missing, no image, broken, or has more pixels than `image_decode.MAX_PIXELS`.
        UserError: the file is an animation or has several pages.
    """
    return decode_image_file(read_bytes(path), str(path))


def decode_image_file(content: bytes, location: str) -> ImageFile:
    """Decode the bytes of an image file as `read_image_file` does; `location` is the file's name in error messages."""
    require_one_frame(content, location)
    with errors_of(location), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with open_image(content) as opened:
            image = ImageOps.exif_transpose(opened)
            deep = has_16_bit_colors(opened, content)
            orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
        pixels = _decode_16_bits(content, image, orientation) if deep else _to_array(image)
    return ImageFile(pixels, decode_metadata(content, pixels.ndim == 2 or pixels.shape[2] == 2))


def write_image_file(image: ImageFile, path: Path, text: Mapping[str, str] | None = None) -> None:
    """Write an image atomically, as PNG or TIFF by the suffix of `path`, with all its bits.

    Args:
        image: what to write.
        path: the file; its folder is created. TIFFs of 16-bit colors keep the profile and the resolution, but
            no EXIF data, and 16-bit gray with alpha becomes RGB with alpha there: few programs read it.
        text: ASCII texts by key for a PNG.

    Raises:
        UserError: the file system refuses.
    """
    deep = image.pixels.dtype == np.uint16 and image.pixels.ndim == 3
    with write_output(path) as part:
        if path.suffix.lower() != ".png":
            _write_tiff(image, part, deep)
        elif deep:
            part.write_bytes(b"".join(_encode_png(image, text)))
        else:
            Image.fromarray(image.pixels).save(part, format="PNG", pnginfo=_png_info(text), **image.metadata)


def encode_png(image: ImageFile, compress_level: int = 6) -> bytes:
    """Encode an image as a PNG file, with all its bits and its metadata; level 1 takes a fraction of the time of 6."""
    if image.pixels.dtype == np.uint16 and image.pixels.ndim == 3:
        return b"".join(_encode_png(image, None, compress_level))
    file = BytesIO()
    Image.fromarray(image.pixels).save(file, format="PNG", compress_level=compress_level, **image.metadata)
    return file.getvalue()


def read_png_text(path: Path, key: str) -> str | None:
    """Read a text of a PNG that ends as a complete file does; None if it does not, or has no such text."""
    try:
        with path.open("rb") as file, Image.open(file, formats=("PNG",)) as image:
            found = image.info.get(key)
            file.seek(-12, 2)
            complete = file.read()[4:8] == b"IEND"
    except Exception:  # a damaged file may fail with any exception
        return None
    return found if complete and isinstance(found, str) else None


def _to_array(image: Image.Image) -> NDArray[Any]:
    if image.mode == "F" or image.mode.startswith("I"):
        return _to_16_bits(np.asarray(image))
    if image.mode not in _OWN_MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.has_transparency_data and image.mode in ("1", "L", "RGB"):  # one color is transparent
        image = image.convert("LA" if image.mode != "RGB" else "RGBA")
    return np.array(image)


def _to_16_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.asarray((values * _16_BITS).round().astype(np.uint16))
    if values.dtype.kind != "f" and low >= 0 and high <= _16_BITS:
        return values.astype(np.uint16)
    kind = "floating-point values" if values.dtype.kind == "f" else "32-bit values"
    raise ValueError(f"{kind} from {low:g} to {high:g} have no agreed gray levels; save it with 8 or 16 bits")


def _decode_16_bits(content: bytes, high_bytes: Image.Image, orientation: int) -> NDArray[np.uint16]:
    """Decode colors of 16 bits, of which Pillow reads the high bytes only; these decide on the order and the orientation."""
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = np.asarray(high_bytes)
    if decoded is not None and decoded.dtype == np.uint16 and decoded.ndim == 3:
        order = [2, 1, 0, 3] if high_bytes.mode == "RGBA" else [2, 1, 0]
        if content[:8] == _PNG and content[_PNG_COLOR] == _GRAY_ALPHA:  # both decoders make RGBA of it
            order, expected = [0, 3], expected[..., [0, -1]]
        if max(order) < decoded.shape[2]:
            colors: NDArray[np.uint16] = decoded[..., order].astype(np.uint16, copy=False)
            for turned in (colors, _orient(colors, orientation)):
                if turned.shape == expected.shape and bool(((turned >> 8) == expected).all()):
                    return np.ascontiguousarray(turned)
    raise UnreadableImageError("its colors of 16 bits are stored in a way that is not known; save it with 8 bits")


def _orient(pixels: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Apply an EXIF orientation to (H, W, C)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _png_info(text: Mapping[str, str] | None) -> PngInfo:
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    return info


def _encode_png(image: ImageFile, text: Mapping[str, str] | None, compress_level: int = 6) -> Iterator[bytes]:
    """Encode 16-bit colors (H, W, C), which Pillow cannot; the metadata chunks are those that Pillow writes."""
    height, width, channels = image.pixels.shape
    example = BytesIO()
    Image.new("RGB", (1, 1)).save(example, format="PNG", pnginfo=_png_info(text), **image.metadata)
    yield _PNG
    yield _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR_TYPES[channels], 0, 0, 0))
    after_pixels = []
    for kind, data in _chunks(example.getvalue()):
        if kind == b"eXIf":
            after_pixels.append(_chunk(kind, data))
        elif kind not in (b"IHDR", b"IDAT", b"IEND"):
            yield _chunk(kind, data)
    compressor, above = zlib.compressobj(compress_level), np.zeros(width * channels * 2, np.uint8)
    for row in image.pixels.reshape(height, -1):
        current = row.astype(">u2").view(np.uint8)
        if packed := compressor.compress(bytes([_UP]) + (current - above).tobytes()):
            yield _chunk(b"IDAT", packed)
        above = current
    yield _chunk(b"IDAT", compressor.flush())
    yield from after_pixels
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = len(_PNG)
    while offset < len(png):
        length = int.from_bytes(png[offset : offset + 4], "big")
        yield png[offset + 4 : offset + 8], png[offset + 8 : offset + 8 + length]
        offset += length + 12


def _write_tiff(image: ImageFile, path: Path, deep: bool) -> None:
    if not deep:
        compression = "tiff_adobe_deflate"
        Image.fromarray(image.pixels).save(path, format="TIFF", compression=compression, **image.metadata)
        return
    import tifffile

    pixels, dpi = image.pixels, image.metadata.get("dpi")
    if pixels.shape[2] == 2:
        pixels = pixels[..., [0, 0, 0, 1]]
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        planarconfig="contig",
        extrasamples=["unassalpha"] if pixels.shape[2] == 4 else None,
        compression="zlib",
        iccprofile=image.metadata.get("icc_profile"),
        resolution=dpi,
        resolutionunit="INCH" if dpi else None,
        metadata=None,
    )
