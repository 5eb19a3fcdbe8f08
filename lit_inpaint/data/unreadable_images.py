"""Pictures that never break in the middle of a run: what happens to those that cannot be read."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_inpaint.data.image_decode import UnreadableImageError
from lit_inpaint.data.image_source import ImageSource
from lit_inpaint.errors import UserError

OnBadFile = Literal["skip", "stop"]

MAX_VERIFIED_FILES = 2_000
"""Up to this many pictures are all decoded before a run starts (seconds); larger sets are checked when read."""
CACHE_BYTES = 2 * 2**30
"""Most memory that a store spends on decoded pictures."""
MAX_NAMED_FILES = 10


class ImageStore:
    """Pictures as a sequence that never breaks in the middle of a run.

    Up to `MAX_VERIFIED_FILES` of them are decoded at once, in threads, when the store is made. Unreadable ones are named (up to
    ten, then a count) and left out, or stop the run. In a larger set an unreadable one is met when it is read: it is named once
    per process, counted over all processes of this machine, and the next readable one takes its place, always the same; or it
    stops the run. `python -m lit_inpaint.prepare` finds them all beforehand.

    Args:
        pictures: at least one.
        on_bad_file: `skip` or `stop`.
        cache: keep decoded pictures in memory, as far as they were verified and fit into `CACHE_BYTES`. Workers that are forked
            share them.

    Raises:
        UserError: none can be read, or one cannot and `on_bad_file` is `stop`.
    """

    def __init__(self, pictures: ImageSource, on_bad_file: OnBadFile, cache: bool) -> None:
        self.source = pictures
        self.on_bad_file = on_bad_file
        self._decoded: dict[int, Tensor] = {}
        if len(pictures) <= MAX_VERIFIED_FILES:
            self._verify(cache)
        self.source.name(0)  # what names have in common is found before loader processes are forked, not in each
        # Shared with loader processes. Ones rather than a count, so that two processes that meet a file count it once.
        self._bad = cast(Any, torch.zeros(len(self), dtype=torch.bool)).share_memory_()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        """Picture `index`, (3, H, W) uint8, or the one that takes its place, and its name; see `take`."""
        picture, place = self.take(index)
        return picture, self.source.name(place)

    def take(self, index: int) -> tuple[Tensor, int]:
        """Picture `index`, (3, H, W) uint8, or the one that takes its place, and that one's place.

        The picture is not to be written to, as it may be the cached one.
        """
        for step in range(len(self)):
            place = (index + step) % len(self)
            try:
                picture = self._decoded[place] if place in self._decoded else self.source.read(place)
            except UnreadableImageError as error:
                if self.on_bad_file == "stop":
                    raise
                self._bad[place] = True
                # Python shows a repeated text once per process, which is what "named once" needs.
                warnings.warn(f"{error}; the next readable image takes its place", stacklevel=2)
            else:
                return picture, place
        raise UnreadableImageError(f"none of the {len(self)} images can be read, from {self.source.location(0)} on")

    def num_unreadable(self) -> int:
        """How many pictures could not be read so far, in all processes that share this store."""
        return int(self._bad.sum())

    def _verify(self, cache: bool) -> None:
        def attempt(place: int) -> Tensor | UnreadableImageError | None:
            try:
                picture = self.source.read(place)
            except UnreadableImageError as error:
                return error
            return picture if cache else None

        good: list[int] = []
        bad: list[str] = []
        room = CACHE_BYTES
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            for place, outcome in enumerate(threads.map(attempt, range(len(self)))):
                if isinstance(outcome, UnreadableImageError):
                    bad.append(str(outcome))
                    continue
                if outcome is not None and (room := room - outcome.nbytes) >= 0:
                    self._decoded[len(good)] = outcome
                good.append(place)
        if not bad:
            return
        more = f"; and {len(bad) - MAX_NAMED_FILES} more" if len(bad) > MAX_NAMED_FILES else ""
        report = f"{len(bad)} of {len(self)} image files cannot be used: {'; '.join(bad[:MAX_NAMED_FILES])}{more}"
        if self.on_bad_file == "stop" or not good:
            raise UserError(report)
        rank_zero_warn(f"{report}. They are left out", stacklevel=4)
        self.source = self.source.take(np.array(good, np.int64))
