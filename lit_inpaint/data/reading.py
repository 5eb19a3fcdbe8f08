"""Image files: finding them, decoding them, and what happens to those that cannot be decoded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lit_inpaint.types import UserError

OnBadFile = Literal["skip", "stop"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
VERIFIED_FILES = 2_000
"""Up to this many files are all decoded before a run starts (seconds); larger sets are checked when read."""
CACHE_BYTES = 2 * 2**30
"""Most memory that `Shelf` spends on decoded images."""
NAMED_FILES = 10


class UnreadableImageError(UserError):
    """A file that is no image, or a broken one.

    torch re-raises an error of a loader's worker with the worker's traceback as its message; only its last line is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


def images_in(folder: Path) -> tuple[Path, ...]:
    """Every image file under `folder`, at any depth, sorted by path; hidden files and folders are left out."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        found += [Path(place, name) for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return tuple(sorted(found, key=Path.as_posix))


def read_image(path: str | Path) -> Tensor:
    """A picture as a viewer shows it: turned by its EXIF tag, in RGB, without its alpha channel.

    Args:
        path: a file that Pillow can decode, whatever its suffix says.

    Returns:
        (3, H, W) uint8; 16-bit grey is scaled to 8 bits. The three channels of a pixel lie side by side in memory: torch
        resizes such images three to four times faster.

    Raises:
        UserError: naming the file, when it is missing, no image, or broken.
    """
    try:
        with Image.open(path) as image:
            picture: Tensor = pil_to_tensor(_to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # decoders raise almost anything on broken bytes
        reason = " ".join(str(error).replace(repr(str(path)), "").split()).rstrip(": ")
        raise UnreadableImageError(f"cannot read {path} as an image ({type(error).__name__}: {reason})") from error
    return picture


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow would clip 16-bit grey at 255
        grey = np.asarray(image, dtype=np.int64) // 257
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


class Shelf:
    """Image files as a sequence of pictures that never breaks in the middle of a run.

    Up to `VERIFIED_FILES` files are decoded at once, in threads, when the shelf is made. Unreadable ones are named (up to ten,
    then a count) and left out, or stop the run. In a larger set an unreadable file is met when it is read: it is named once
    per process and the next readable file takes its place, always the same one; or it stops the run.

    Args:
        files: at least one.
        on_bad_file: `skip` or `stop`.
        cache: keep decoded pictures in memory, as far as they were verified and fit into `CACHE_BYTES`. Workers that are forked
            share them.

    Raises:
        UserError: no file can be read, or one cannot and `on_bad_file` is `stop`.
    """

    def __init__(self, files: Sequence[Path], on_bad_file: OnBadFile, cache: bool) -> None:
        self.files = tuple(files)
        self.on_bad_file = on_bad_file
        self._pictures: dict[int, Tensor] = {}
        if len(self.files) <= VERIFIED_FILES:
            self._verify(cache)
        self._top = Path(os.path.commonpath({os.path.dirname(file) for file in self.files}))  # noqa: PTH120 (a Path per file is slow)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        """Picture `index`, (3, H, W) uint8, or the one that takes its place, and its name.

        The picture is not to be written to, as it may be the cached one. The name is the file's path below the folder that
        holds all files, without its suffix, so that it is unique also among class folders.
        """
        for step in range(len(self)):
            place = (index + step) % len(self)
            try:
                picture = self._pictures[place] if place in self._pictures else read_image(self.files[place])
            except UnreadableImageError as error:
                if self.on_bad_file == "stop":
                    raise
                # Python shows a repeated text once per process, which is what "named once" needs.
                warnings.warn(f"{error}; the next readable image takes its place", stacklevel=2)
            else:
                return picture, self.files[place].relative_to(self._top).with_suffix("").as_posix()
        raise UnreadableImageError(f"none of the {len(self)} image files can be read, from {self.files[0]} on")

    def _verify(self, cache: bool) -> None:
        def attempt(file: Path) -> Tensor | UnreadableImageError | None:
            try:
                picture = read_image(file)
            except UnreadableImageError as error:
                return error
            return picture if cache else None

        good: list[Path] = []
        bad: list[str] = []
        room = CACHE_BYTES
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            for file, outcome in zip(self.files, threads.map(attempt, self.files), strict=True):
                if isinstance(outcome, UnreadableImageError):
                    bad.append(str(outcome))
                    continue
                if outcome is not None and (room := room - outcome.nbytes) >= 0:
                    self._pictures[len(good)] = outcome
                good.append(file)
        if bad:
            more = f"; and {len(bad) - NAMED_FILES} more" if len(bad) > NAMED_FILES else ""
            report = f"{len(bad)} of {len(self.files)} image files cannot be used: {'; '.join(bad[:NAMED_FILES])}{more}"
            if self.on_bad_file == "stop" or not good:
                raise UserError(report)
            rank_zero_warn(f"{report}. They are left out", stacklevel=4)
        self.files = tuple(good)
