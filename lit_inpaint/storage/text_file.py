"""Read text files that users wrote with any editor: lists of paths, partitions, box files."""

from __future__ import annotations

import codecs
from pathlib import Path

from lit_inpaint.errors import UserError
from lit_inpaint.storage.regular_file import read_regular_file

MAX_TEXT_BYTES = 2**29
"""Maximum size of a text file in bytes: eight million paths."""
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text_file(path: Path) -> str:
    """Read a text file; see `decode_text`.

    Raises:
        UserError: the file cannot be read, or is no text.
    """
    try:
        return decode_text(read_regular_file(path, MAX_TEXT_BYTES), path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def decode_text(content: bytes, location: str | Path) -> str:
    """Decode UTF-8, or by their byte order marks UTF-8 and UTF-16.

    Bytes that are not UTF-8 become surrogates, as in Python's file names. So a list of paths in any other encoding still names
    files whose names have these bytes; see also `latin1_name`.

    Args:
        content: bytes of a text file.
        location: the file's name in error messages.

    Raises:
        UserError: the content has zero bytes, as in UTF-16 without a byte order mark.
    """
    if content.startswith(_UTF16):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise UserError(f"{location} is not a text file in UTF-8, as it has zero bytes; save it as UTF-8")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="surrogateescape")


def latin1_name(text: str) -> str:
    """Return the name that a Latin-1 text means where `decode_text` has found bytes that are not UTF-8."""
    return text.encode("utf-8", errors="surrogateescape").decode("latin-1")
