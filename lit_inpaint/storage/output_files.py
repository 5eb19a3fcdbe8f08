"""Output files of commands: checked before the work starts, and written atomically."""

from __future__ import annotations

import json
import mimetypes
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_inpaint.errors import UserError
from lit_inpaint.storage.atomic_write import atomic_write
from lit_inpaint.storage.user_path import user_path

_MODEL_SUFFIXES = ".ckpt .h5 .npy .npz .onnx .ort .pb .pickle .pkl .pt .pt2 .pth .safetensors .tflite"
_TEXT_SUFFIXES = ".cfg .ini .ipynb .log .md .rst .toml .yaml .yml"


def require_writable_folder(folder: Path) -> None:
    """Check that files can be written into `folder`, which need not exist; leaves nothing behind.

    Raises:
        UserError: `folder`, or its nearest existing parent, is not a writable folder.
    """
    there = folder
    try:
        while not there.exists() and there != there.parent:
            if there.is_symlink():
                raise UserError(f"cannot write into {folder}: {there} is a link that leads nowhere; name another --output")
            there = there.parent
    except OSError as error:  # for one, a name that is too long
        raise UserError(f"cannot write into {folder} ({error.strerror}); name another --output") from error
    if not there.is_dir():
        raise UserError(f"cannot write into {folder}: {there} is a file, not a folder; name another --output")
    try:
        tempfile.TemporaryFile(dir=there).close()  # asks the file system itself: permission bits do not tell all
    except OSError as error:
        raise UserError(f"cannot write into {there} ({error.strerror}); name another --output") from error


def require_folder_name(name: str, option: str = "--output", files: str = "") -> None:
    """Check that a folder to be made is not called like a file.

    Dots are part of a folder's name, as in `v1.2` or `my.model`, unless the name ends like that of a file, such as `net.txt`.
    Such a name is a folder's if the folder exists, or if it ends with a slash.

    Args:
        name: the path as the user gave it.
        option: the command-line option, for the message.
        files: suffixes of files that the option takes as well, for the message.

    Raises:
        UserError: the name is that of a file.
    """
    path = user_path(name)
    if not name.endswith("/") and path.suffix.lower() in _file_suffixes() and not path.is_dir():
        known = f"a folder, or a file that ends with {files}" if files else "a folder"
        raise UserError(f"{option} {name} must be {known}; if it is a folder, end it with a slash: {name}/")


def _file_suffixes() -> set[str]:
    """Suffixes of files in general; those of one letter are left out, as they are likelier in names of versions."""
    known = mimetypes.MimeTypes(filenames=())  # without the lists of this machine, so that all machines agree
    suffixes = {*known.types_map[True], *known.types_map[False], *known.encodings_map, *known.suffix_map, ".webp"}
    return {suffix for suffix in suffixes if len(suffix) > 2} | set(_MODEL_SUFFIXES.split()) | set(_TEXT_SUFFIXES.split())


def output_file(name: str, suffix: str, option: str = "--output") -> Path:
    """Path of an output file after a check that it can be written.

    Args:
        name: the path as the user gave it.
        suffix: required suffix, such as ".json".
        option: the command-line option, for messages.

    Raises:
        UserError: another suffix, a folder of that name, or a folder that cannot be written.
    """
    path = Path(name)
    if path.suffix.lower() != suffix:
        raise UserError(f"{option} {name} must end with {suffix}")
    require_writable_folder(path.parent)
    if path.is_dir():
        raise UserError(f"{option} {name} is a folder; name a file that ends with {suffix}")
    return path


@contextmanager
def write_output(path: Path) -> Iterator[Path]:
    """Write an output file atomically, see `atomic_write`.

    Raises:
        UserError: the file system refuses.
    """
    try:
        with atomic_write(path) as part:
            yield part
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); name another --output") from error


def write_json(path: Path, content: object) -> None:
    """Write plain data as JSON, atomically.

    Raises:
        ValueError: a number is infinite or NaN.
    """
    with write_output(path) as part:
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
