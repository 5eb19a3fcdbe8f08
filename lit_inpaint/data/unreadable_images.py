"""Image access that tolerates unreadable files: they are reported and left out or replaced, or end the run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_inpaint.data.image_cache import ImageCache
from lit_inpaint.data.image_source import ImageSource
from lit_inpaint.data.workers import available_cores
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import UnreadableImageError

OnBadFile = Literal["skip", "stop"]

MAX_VERIFIED_FILES = 2_000
"""Sets of up to this many images are decoded completely before a run starts (seconds); larger sets are checked when read."""
CACHE_BYTES = 2 * 2**30
"""Maximum memory for decoded images."""
MAX_NAMED_FILES = 10


class ImageStore:
    """The images of a source, with an optional cache in memory.

    A set of up to `MAX_VERIFIED_FILES` images is decoded at once, in threads, when the store is created. Unreadable images are
    named (up to ten, then a count) and left out, or end the run. In a larger set an unreadable image is detected when it is
    read. It ends the run, or evaluation leaves it out and training uses the next readable image, always the same one.
    Files of several frames or pages are named too; the first frame is used. `python -m lit_inpaint.prepare` finds all such
    files beforehand.

    Args:
        source: at least one image.
        on_bad_file: `skip` or `stop`.
        cache: keep verified images in memory, up to `CACHE_BYTES`. Loader processes share them.

    Raises:
        UserError: no image can be read, or one cannot and `on_bad_file` is `stop`.
    """

    def __init__(self, source: ImageSource, on_bad_file: OnBadFile, cache: bool) -> None:
        self.source = source
        self.on_bad_file = on_bad_file
        self._decoded = ImageCache()
        if len(source) <= MAX_VERIFIED_FILES:
            self._verify(cache)
        self.source.name(0)  # computes the common prefix of all names before loader processes are forked, not in each
        # Shared with loader processes. Flags rather than a count, so that two processes that read one file count it once.
        self._unreadable = cast(Any, torch.zeros(len(self), dtype=torch.bool)).share_memory_()

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> Tensor:
        """Return image `index`, (3, H, W) uint8. Do not write to it: it may be the cached one.

        Raises:
            UnreadableImageError: the message names the image.
        """
        cached = self._decoded.get(index)
        return self.source.read(index) if cached is None else cached

    def read_or_next(self, index: int) -> tuple[Tensor, int]:
        """Return image `index` as `read` does, and its index, or the next readable image and that one's index.

        An unreadable image is named once per process and counted over all processes of this machine that share the store.

        Raises:
            UnreadableImageError: the image cannot be read and `on_bad_file` is `stop`, or no image can be read.
        """
        for step in range(len(self)):
            current = (index + step) % len(self)
            try:
                return self.read(current), current
            except UnreadableImageError as error:
                if self.on_bad_file == "stop":
                    raise
                self._unreadable[current] = True
                # Python shows a repeated warning once per process, so each file is named once.
                warnings.warn(f"{error}; the next readable image takes its place", stacklevel=2)
        raise UnreadableImageError(f"none of the {len(self)} images can be read, from {self.source.location(0)} on")

    def num_unreadable(self) -> int:
        """Return the number of images that `read_or_next` has replaced so far, in all processes that share this store."""
        return int(self._unreadable.sum())

    def _verify(self, cache: bool) -> None:
        def attempt(index: int) -> Tensor | UnreadableImageError | None:
            try:
                image = self.source.read(index)
            except UnreadableImageError as error:
                return error
            return image if cache else None

        def has_several_frames(index: int) -> bool:
            with suppress(UnreadableImageError):  # later frames may be broken; the first one is used
                return self.source.num_frames(index) > 1
            return False

        readable: list[int] = []
        errors: list[str] = []
        free_bytes = CACHE_BYTES
        with ThreadPoolExecutor(min(8, available_cores())) as threads:
            for index, result in enumerate(threads.map(attempt, range(len(self)))):
                if isinstance(result, UnreadableImageError):
                    errors.append(str(result))
                    continue
                if result is not None and (free_bytes := free_bytes - result.nbytes) >= 0:
                    self._decoded[len(readable)] = result
                readable.append(index)
            flags = threads.map(has_several_frames, readable)
            animated = [self.source.location(index) for index, found in zip(readable, flags, strict=True) if found]
        if animated:
            rank_zero_warn(
                f"{_listed(animated, ', ')}: files of several frames or pages, of which the first is used", stacklevel=4
            )
        if not errors:
            return
        message = f"{len(errors)} of {len(self)} image files cannot be used: {_listed(errors, '; ')}"
        if self.on_bad_file == "stop" or not readable:
            raise UserError(message)
        rank_zero_warn(f"{message}. They are left out", stacklevel=4)
        self.source = self.source.take(np.array(readable, np.int64))


def _listed(texts: Sequence[str], separator: str) -> str:
    """Join the first texts and count the others."""
    more = f"{separator}and {len(texts) - MAX_NAMED_FILES} more" if len(texts) > MAX_NAMED_FILES else ""
    return separator.join(texts[:MAX_NAMED_FILES]) + more
