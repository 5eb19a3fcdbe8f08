"""Download network weights into the cache: `python -m lit_inpaint.fetch`. The only verb that needs a network."""

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
from lit_inpaint.storage.pretrained_weights import ALEXNET, INCEPTION, VGG16, VGG19, WeightsFile

FILES: tuple[WeightsFile, ...] = (VGG16, VGG19, INCEPTION, ALEXNET)

_EPILOG = """
The files go into $LIT_INPAINT_CACHE, or ~/.cache/lit_inpaint where that is not set, under their publishers' names. Each is
checked by the SHA-256 in its name, and appears there whole or not at all. For a machine without network, run this on another
and copy the folder, or put a folder of such files in place of the internet: --mirror file:///media/stick
"""


def main(argv: list[str]) -> int:
    """Fetch what is named, or everything; returns the exit status."""
    parser = CommandParser("fetch", "Download the weights of networks that losses and metrics look through.", _EPILOG)
    parser.add_argument("names", metavar="NAME", nargs="*", help="what to fetch (default: everything that --list shows)")
    parser.add_argument("--list", action="store_true", help="show what can be fetched and what is there, and stop")
    parser.add_argument("--mirror", metavar="URL", help="fetch URL/<file name> in place of the publishers' addresses")
    options = parser.parse_args(argv)
    files = _chosen(options.names)
    if options.list:
        for file in files:
            print(f"{file.name:10} {file.about}, {file.megabytes} MB: {file.path if file.path.is_file() else 'not there'}")
        return 0
    for file in files:
        fetch(file, options.mirror)
    return 0


def fetch(file: WeightsFile, mirror: str | None = None) -> None:
    """Put one file into the cache, unless it is there and whole.

    Args:
        file: what to fetch.
        mirror: address of a folder that holds it; None: the publisher's.

    Raises:
        UserError: the address does not answer, or answers with something else; or the cache cannot be written.
    """
    from torch.hub import download_url_to_file

    if file.path.is_file():
        if _sha256(file.path).startswith(file.digest):
            print(f"{file.name}: there already, {file.path}")
            return
        print(f"{file.name}: {file.path} is not what its name says; fetching it anew")
    url = file.url if mirror is None else f"{mirror.rstrip('/')}/{file.file}"
    if not url.startswith(("http://", "https://", "file://")):
        raise UserError(f"--mirror {mirror} is no address: it begins with http://, https:// or file://")
    print(f"{file.name}: {url}")
    _make_cache()
    try:
        # To a temporary name beside it, which becomes the file's once the digest is right.
        download_url_to_file(url, str(file.path), hash_prefix=file.digest, progress=sys.stderr.isatty())
    except RuntimeError as error:
        raise UserError(
            f"{url} gave something else than {file.about}, or not all of it: its SHA-256 does not begin with {file.digest}"
        ) from error
    except (OSError, HTTPException) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = error if isinstance(error, HTTPError) else getattr(error, "reason", error)
        raise UserError(
            f"cannot fetch {url} ({reason}); with a network elsewhere, fetch there and copy {file.file} into {file.path.parent}"
        ) from error
    print(f"{file.name}: in {file.path}")


def _make_cache() -> None:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # asks the file system itself: permission bits do not tell all
    except OSError as error:
        raise UserError(f"cannot write into {folder} ({error.strerror}); name another folder by LIT_INPAINT_CACHE") from error


def _chosen(names: Sequence[str]) -> list[WeightsFile]:
    known = {file.name: file for file in FILES}
    for name in names:
        if name not in known:
            raise UserError(f"nothing called {name!r} can be fetched{did_you_mean(name, known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    entry_point.run_command(main)
