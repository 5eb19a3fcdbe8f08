"""Files that the verbs write: refused before the work starts if they cannot be written, and never half there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lit_inpaint.errors import UserError


def require_writable_folder(folder: Path) -> None:
    """Make sure that files can be put into `folder`, which need not exist yet; leaves nothing behind.

    Raises:
        UserError: it, or what it would be made in, is no folder or cannot be written.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UserError(f"cannot write into {folder}: {there} is a file, not a folder; name another --output")
    try:
        tempfile.TemporaryFile(dir=there).close()  # asks the file system itself: permission bits do not tell all
    except OSError as error:
        raise UserError(f"cannot write into {there} ({error.strerror}); name another --output") from error


def output_file(name: str, suffix: str, option: str = "--output") -> Path:
    """The path of an output file, once it is clear that it can be written.

    Args:
        name: as the user gave it.
        suffix: what it must end with, such as ".json".
        option: by which the user gave it.

    Raises:
        UserError: another suffix, a folder of that name, or a place that cannot be written.
    """
    path = Path(name)
    if path.suffix.lower() != suffix:
        raise UserError(f"{option} {name} must end with {suffix}")
    if path.is_dir():
        raise UserError(f"{option} {name} is a folder; name a file that ends with {suffix}")
    require_writable_folder(path.parent)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, to write to; `path` appears, or changes, only when that went well.

    Raises:
        UserError: the file system refuses.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); name another --output") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write plain data, whole or not at all.

    Raises:
        ValueError: a number is infinite or none, which JSON cannot say.
    """
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
