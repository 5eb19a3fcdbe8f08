"""Find unusual properties of an image file: wrong suffix, grayscale, CMYK, 16 bits, EXIF rotation and so on."""

from __future__ import annotations

import math
import warnings

from PIL import ExifTags, Image

from lit_inpaint.storage.image_decode import open_image

UNUSABLE = {
    "empty": "no bytes",
    "broken": "no image, truncated, or not to be opened",
}
"""Kinds of unusable files, and their descriptions."""
UNUSUAL = {
    "wrong_suffix": "read by its content, though its suffix names another format",
    "tiny": "shorter side below that of the samples, so crops are enlarged",
    "huge": "more than 89 million pixels",
    "gray": "one channel, repeated to three",
    "cmyk": "converted to RGB",
    "16bit": "scaled to 8 bits",
    "palette": "converted to RGB",
    "alpha": "transparency dropped",
    "rotated": "rotated as its EXIF tag says",
    "animated": "its first frame is used",
    "duplicate": "same bytes as an earlier file of its split",
    "overlap": "same bytes as a file of another split",
}
"""Kinds of unusual but usable files, and how they are used. `check_file` finds all but `tiny`, `duplicate` and `overlap`."""
SIGNATURES = {"jpg": b"\xff\xd8", "png": b"\x89PNG\r\n\x1a\n"}
"""First bytes of a file, by format."""
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".jfif"),  # a camera's JPEG that is followed by a second image
    "PNG": (".png",),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
}
_PNG_BIT_DEPTH = 24  # offset of the byte that holds the number of bits per channel


def check_file(content: bytes, suffix: str) -> list[str]:
    """Find the unusual properties of a file, keys of `UNUSUAL`; none if its header cannot be read.

    Args:
        content: the file's bytes.
        suffix: the file's suffix, such as ".jpg".
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(content) as image:
                return [kind for kind, found in _properties(image, content, suffix).items() if found]
    except Image.DecompressionBombError:
        return ["huge"]
    except Exception:  # decoders raise almost anything on broken bytes; decoding decides whether the image is usable
        return []


def _properties(image: Image.Image, content: bytes, suffix: str) -> dict[str, bool]:
    mode = image.mode
    is_16bit_png = content.startswith(SIGNATURES["png"]) and content[_PNG_BIT_DEPTH] == 16  # Pillow reads RGB as 8 bits
    return {
        "wrong_suffix": suffix.lower() not in _SUFFIXES.get(image.format or "", ()),
        "huge": image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf),
        "gray": mode.startswith(("1", "L", "I")) and mode != "LAB",
        "cmyk": mode == "CMYK",
        "16bit": mode.startswith("I") or is_16bit_png,
        "palette": mode.startswith("P"),
        "alpha": mode.endswith(("A", "a")) or "transparency" in image.info,
        "rotated": image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9),
        "animated": image.format != "MPO" and getattr(image, "n_frames", 1) > 1,
    }
