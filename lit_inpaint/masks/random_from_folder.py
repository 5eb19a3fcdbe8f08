"""Masks from image files in a folder, drawn at random."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from random import Random
from statistics import fmean

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import MaskSource, fingerprint_of, python_rng, require_range
from lit_inpaint.masks.read_mask import list_mask_files, print_once, read_mask_uint8, resize_mask
from lit_inpaint.storage.user_path import user_path
from lit_inpaint.visualization.progress_bar import progress_bar

_MIN_CROP = 0.75
_NUM_CHECKED = 32
"""Number of files that the constructor reads, so that an unusable folder is reported before training starts."""
_SUSPICIOUS_RATIO = 0.6
"""A mean mask ratio above this probably means that the polarity is wrong; no published set has one."""


@dataclass(frozen=True)
class RandomFromFolder(MaskSource):
    """A random file of a folder of masks, such as the irregular masks of PConv (Liu et al., 2018).

    Uses all image files below the folder, sorted by path, without hidden ones; see `read_mask` for what marks the hole in them.
    The constructor lists them once and reads up to 32 of them, evenly spaced. It reports a missing folder, an unreadable file
    and masks without holes before training starts. If the mean mask ratio exceeds 60 %, a line on stderr names the option to
    change. All other files are read when drawn, so their number is not limited by memory.

    A drawn file is processed in this order: `dilate`, `rotate`, `augment`, then resized (nearest pixel). The published sets:

    - PConv's test masks (12,000, white holes, dilated and rotated already), the 2,000 of one bucket unchanged:
      `RandomFromFolder(root, augment=False, ratio=(0.1, 0.2))`. `MaskRatio` over the whole folder differs: where eight draws
      miss the range, it unites and cuts masks. With six ranges that changes 12 to 20 % of the draws above a mask ratio of 10 %.
    - PConv's training masks (55,116, thin black strokes on white), which the paper dilates, rotates and crops at random:
      `RandomFromFolder(root, white_is_hole=False, dilate=(5 / 512, 47 / 512), rotate=180.0)`. The brushes are those of the
      set's page (masc.cs.gmu.edu/wiki/partialconv): 5-47 of 512 pixels.

    Args:
        root: folder with the mask files, `~` allowed; subfolders are included.
        white_is_hole: true if white marks the hole in the files, false if black does.
        augment: true flips, rotates by multiples of 90 degrees and crops (to 75-100 % of each side) at random before resizing;
            false leaves the files unchanged.
        ratio: use only files with `low <= mask ratio < high`, counted in pixels before any processing; null uses all. The
            constructor then reads all files, in threads, once per process.
        dilate: min and max side of the square kernel that dilates the holes, as fractions of the file's shorter side; a hole
            grows by half of it to each side. 0 leaves it unchanged.
        rotate: max angle in degrees, in both directions. The mask is enlarged until its corners lie within the file, by at most
            sqrt(2) if it is square, so that no pixel from outside the file is needed.
    """

    root: str
    white_is_hole: bool = True
    augment: bool = True
    ratio: tuple[float, float] | None = None
    dilate: tuple[float, float] = (0.0, 0.0)
    rotate: float = 0.0

    def __post_init__(self) -> None:
        require_range("RandomFromFolder.dilate", self.dilate, minimum=0, maximum=1)
        if not 0 <= self.rotate <= 180:
            raise UserError(f"RandomFromFolder.rotate is {self.rotate}; expected degrees in [0, 180]")
        if self.ratio is not None and not 0 <= self.ratio[0] < self.ratio[1]:
            raise UserError(f"RandomFromFolder.ratio is {tuple(self.ratio)}; expected 0 <= low < high, or null")
        listed = self._listed
        if not listed:
            state = "holds no image file" if self._folder.is_dir() else "does not exist"
            raise UserError(f"the mask folder {self._folder} {state}; put the masks there, or correct `root`")
        if self.ratio is None:
            count = min(_NUM_CHECKED, len(listed))
            self._check_ratios(self._mask_ratios([listed[index * len(listed) // count] for index in range(count)]))
        else:
            self._check_ratios(self._ratios)
            low, high = self.ratio
            counts = f"{len(self.files):,} of {len(listed):,} masks"
            print_once(f"{counts} in {self._folder} have a mask ratio of {low:.0%} to {high:.0%}")

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """Draw one mask (1, H, W), 1 = hole. Raises UserError if the drawn file cannot be read."""
        py_rng = python_rng(rng)
        holes = read_mask_uint8(self.files[py_rng.randrange(len(self.files))], self.white_is_hole)
        if self.dilate[1] > 0:
            kernel = round(py_rng.uniform(*self.dilate) * min(holes.shape))
            holes = _dilate(holes, kernel)
        if self.rotate > 0:
            holes = _rotate(holes, py_rng.uniform(-self.rotate, self.rotate))
        mask = torch.from_numpy(holes)[None]
        if self.augment:
            mask = mask.rot90(py_rng.randrange(4), (1, 2))
            mask = mask.flip([axis for axis in (1, 2) if py_rng.random() < 0.5])
            rows, columns = (_random_crop(length, py_rng) for length in mask.shape[1:])
            mask = mask[:, rows, columns]
        return resize_mask(mask, size).float()

    def fingerprint(self) -> str:
        """See `MaskSource`."""
        return fingerprint_of(self.files, self._folder)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files that masks are drawn from, sorted.

        Raises:
            UserError: no file is within `ratio`.
        """
        if self.ratio is None:
            return self._listed
        low, high = self.ratio
        files = tuple(path for path, ratio in zip(self._listed, self._ratios, strict=True) if low <= ratio < high)
        if not files:
            raise UserError(
                f"none of the {len(self._ratios):,} masks in {self._folder} has a mask ratio of {low:.1%} to {high:.1%}; "
                f"theirs are {min(self._ratios):.1%} to {max(self._ratios):.1%}: correct `ratio`"
            )
        return files

    @cached_property
    def _listed(self) -> tuple[Path, ...]:
        return list_mask_files(self._folder)

    @cached_property
    def _ratios(self) -> list[float]:
        return self._mask_ratios(self._listed)

    @property
    def _folder(self) -> Path:
        return user_path(self.root)

    def _mask_ratios(self, files: Sequence[Path]) -> list[float]:
        """Measure the mask ratio of each file at its own size."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            measured = threads.map(lambda path: _white_ratio(path, path.stat().st_mtime_ns), files)
            bar = progress_bar(measured, description="measuring masks", unit="mask", total=len(files), disable=None)
            return [white if self.white_is_hole else 1 - white for white in bar]

    def _check_ratios(self, ratios: Sequence[float]) -> None:
        """Refuse masks that are all blank; warn of a probably wrong polarity and of masks without holes."""
        checked = f"masks checked in {self._folder} ({len(ratios):,})"
        hole, known = ("white", "black") if self.white_is_hole else ("black", "white")
        mean, num_empty = fmean(ratios), sum(ratio == 0 for ratio in ratios)
        if mean in (0, 1):
            color, missing = (known, "hole") if mean == 0 else (hole, "known pixel")
            raise UserError(
                f"all {checked} are entirely {color} and have no {missing}; {hole} marks holes (see `white_is_hole`)"
            )
        if mean > _SUSPICIOUS_RATIO:
            value = str(not self.white_is_hole).lower()
            print_once(
                f"warning: the mean mask ratio of the {checked} is {mean:.0%}; probably {known}, not {hole}, marks "
                f"their holes: set `white_is_hole: {value}`"
            )
        if num_empty:
            print_once(f"warning: no hole in {num_empty:,} of the {checked}; `ratio: [0.001, 1.0]` excludes such files")


@cache
def _white_ratio(path: Path, modified_ns: int) -> float:
    """Fraction of a file's pixels that is white, measured once for several sources, such as one for each bucket."""
    holes = read_mask_uint8(path, white_is_hole=True)
    return np.count_nonzero(holes) / holes.size


def _dilate(holes: NDArray[np.uint8], kernel: int) -> NDArray[np.uint8]:
    """Dilate holes by a square kernel of `kernel` pixels; 1 or less changes nothing."""
    return np.asarray(cv2.dilate(holes, np.ones((kernel, kernel), np.uint8)), np.uint8) if kernel > 1 else holes


def _rotate(holes: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Rotate about the center at the same size, enlarged until the corners lie within the original."""
    height, width = holes.shape
    angle = math.radians(degrees)
    scale = abs(math.cos(angle)) + abs(math.sin(angle)) * max(height / width, width / height)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
    rotated = cv2.warpAffine(holes, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(rotated, np.uint8)


def _random_crop(length: int, py_rng: Random) -> slice:
    cropped = max(1, round(py_rng.uniform(_MIN_CROP, 1) * length))
    start = py_rng.randint(0, length - cropped)
    return slice(start, start + cropped)
