"""Download pretrained weights into the cache directory: `python -m lit_inpaint.fetch`. Only this command uses the network."""

from __future__ import annotations

import errno
import hashlib
import sys
import tempfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.storage.cache_dir import cache_dir
from lit_inpaint.storage.pretrained_weights import ALEXNET, INCEPTION, SQUEEZENET, VGG16, VGG19, WeightsFile

FILES: tuple[WeightsFile, ...] = (VGG16, VGG19, INCEPTION, ALEXNET, SQUEEZENET)

_EPILOG = """
Files are stored in $LIT_INPAINT_CACHE (default ~/.cache/lit_inpaint) under their publishers' names. Each is verified by the
SHA-256 in its name and written atomically. For a machine without network, run this command elsewhere and copy the folder, or
read from a folder of such files: --mirror file:///media/stick
"""


def main(argv: list[str]) -> int:
    """Fetch the named files, or all; return the exit status."""
    parser = CommandParser("fetch", "Download pretrained weights of loss and metric networks.", _EPILOG)
    parser.add_argument("names", metavar="NAME", nargs="*", help="files to fetch (default: all that --list shows)")
    parser.add_argument("--list", action="store_true", help="list the files and whether each is present, then exit")
    parser.add_argument("--mirror", metavar="URL", help="download from URL/<file name> instead of the publishers' addresses")
    options = parser.parse_args(argv)
    files = _chosen(options.names)
    if options.list:
        for file in files:
            print(f"{file.name:10} {file.description}, {file.megabytes} MB: {file.path if file.path.is_file() else 'missing'}")
        return 0
    for file in files:
        fetch(file, options.mirror)
    return 0


def fetch(file: WeightsFile, mirror: str | None = None) -> None:
    """Download one file into the cache, unless it is present with the right digest.

    Args:
        file: the file to download.
        mirror: address of a folder that contains the file; None for the publisher's address.

    Raises:
        UserError: the download fails, has another digest, or the cache cannot be written.
    """
    from torch.hub import download_url_to_file

    if file.path.is_file():
        if _sha256(file.path).startswith(file.digest):
            print(f"{file.name}: present, {file.path}")
            return
        print(f"{file.name}: {file.path} has another SHA-256 than its name; downloading it again")
    url = file.url if mirror is None else f"{mirror.rstrip('/')}/{file.file}"
    if not url.startswith(("http://", "https://", "file://")):
        raise UserError(f"--mirror {mirror} is not an address; it must begin with http://, https:// or file://")
    print(f"{file.name}: {url}")
    _make_cache()
    try:
        # Writes to a temporary name, and renames it after the digest is verified.
        download_url_to_file(url, str(file.path), hash_prefix=file.digest, progress=sys.stderr.isatty())
    except RuntimeError as error:
        raise UserError(
            f"{url} is not {file.description}, or is incomplete: its SHA-256 does not begin with {file.digest}"
        ) from error
    except (OSError, HTTPException) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = error if isinstance(error, HTTPError) else getattr(error, "reason", error)
        raise UserError(
            f"cannot fetch {url} ({reason}); fetch it on a machine with network and copy {file.file} into {file.path.parent}"
        ) from error
    print(f"{file.name}: stored as {file.path}")


def _make_cache() -> None:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # a real write: permission bits are not reliable
    except OSError as error:
        raise UserError(f"cannot write into {folder} ({error.strerror}); set LIT_INPAINT_CACHE to another folder") from error


def _chosen(names: Sequence[str]) -> list[WeightsFile]:
    known = {file.name: file for file in FILES}
    for name in names:
        if name not in known:
            raise UserError(f"there is no file {name!r} to fetch{did_you_mean(name, known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    entry_point.run_command(main)
