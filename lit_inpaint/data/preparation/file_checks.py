"""What is odd about an image file, by its bytes."""

from __future__ import annotations

import io
import math
import warnings

from PIL import Image

LEFT_OUT = {
    "empty": "no bytes",
    "broken": "no image, cut short, or not to be opened",
}
"""Kinds of files that cannot be used, and what they are."""
TAKEN = {
    "wrong_ending": "read by its content, though its ending names another format",
    "tiny": "shorter side below the samples', so enlarged when cut",
    "huge": "more than 89 million pixels",
    "grey": "one channel, repeated to three",
    "cmyk": "converted to RGB",
    "16bit": "scaled to 8 bits",
    "palette": "converted to RGB",
    "alpha": "transparency dropped",
    "turned": "turned as its EXIF tag says",
    "animated": "its first picture is taken",
    "duplicate": "same bytes as an earlier file of its split",
    "shared": "same bytes as a file of another split",
}
"""Kinds of odd files that are used, and what is made of them. The last two, and `tiny`, are found by others."""
SIGNATURES = {"jpg": b"\xff\xd8", "png": b"\x89PNG\r\n\x1a\n"}
"""First bytes of a format."""
_ENDINGS = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),  # what cameras call a JPEG with a second picture behind it
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
}
_EXIF_ORIENTATION = 0x0112
_PNG_DEPTH = 24  # which byte of a PNG says how many bits a channel has


def check_file(content: bytes, suffix: str) -> list[str]:
    """What is odd about a file, of `TAKEN`; nothing if it has no header that can be read.

    Args:
        content: its bytes.
        suffix: its ending, such as ".jpg".
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                return [kind for kind, found in _signs(image, content, suffix).items() if found]
    except Image.DecompressionBombError:
        return ["huge"]
    except Exception:  # decoders raise almost anything on broken bytes; reading the picture tells whether it can be used
        return []


def _signs(image: Image.Image, content: bytes, suffix: str) -> dict[str, bool]:
    mode = image.mode
    deep_png = content.startswith(SIGNATURES["png"]) and content[_PNG_DEPTH] == 16  # Pillow gives its colours in 8 bits
    return {
        "wrong_ending": suffix.lower() not in _ENDINGS.get(image.format or "", ()),
        "huge": image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf),
        "grey": mode.startswith(("1", "L", "I")) and mode != "LAB",
        "cmyk": mode == "CMYK",
        "16bit": mode.startswith("I") or deep_png,
        "palette": mode.startswith("P"),
        "alpha": mode.endswith(("A", "a")) or "transparency" in image.info,
        "turned": image.getexif().get(_EXIF_ORIENTATION, 1) in range(2, 9),
        "animated": image.format != "MPO" and getattr(image, "n_frames", 1) > 1,
    }
