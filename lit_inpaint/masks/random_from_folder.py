"""Masks from image files."""

from __future__ import annotations

import math
import os
import sys
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
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import MaskSource, fingerprint_of, python_rng, require_range
from lit_inpaint.visualization.progress_bar import progress_bar

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_SMALLEST_CROP = 0.75
_LOOKED_AT = 32
"""Files that are read when a source is made, to find a folder that would spoil a run while it is still cheap to say so."""
_MANY_HOLES = 0.6
"""A folder with a greater mean hole share than this is probably read with the wrong polarity; no published set has it."""


def read_mask(path: str | Path, size: tuple[int, int] | None = None, white_is_hole: bool = True) -> Tensor:
    """Read one mask file.

    The file is read as grey and cut at a half: the grey edges that JPEG compression or smooth resizing leave behind
    become neither holes of their own nor values between 0 and 1.

    Args:
        path: an image file; white is 255.
        size: (H, W) to resize to (nearest pixel); None keeps the file's size.
        white_is_hole: whether white (or black) marks the hole in the file.

    Returns:
        (1, H, W) float32, exactly 0 or 1, 1 = hole.

    Raises:
        UserError: naming the file, if it cannot be read, or if it holds 0 and 1 where a file should hold 0 and 255.
    """
    mask = torch.from_numpy(_holes(path, white_is_hole))[None]
    return (mask if size is None else _resize(mask, size)).float()


@dataclass(frozen=True)
class RandomFromFolder(MaskSource):
    """A file drawn at random from a folder of masks, such as the irregular masks of PConv (Liu et al., 2018).

    All PNG and JPEG files below the folder take part, in the order of their paths; hidden files do not. The list is made
    once, when the source is constructed, and up to 32 files, evenly spread over it, are read then: a wrong folder, a broken
    file and masks without holes are reported before training starts, and if the mean hole share exceeds 60 %, a line on
    stderr names the setting to change. All other files are read when drawn, so any number of them fits.

    A drawn file is changed in this order: `dilate`, `rotate`, `augment`, then resized (nearest pixel). The published sets:

    - PConv's test masks (12,000, white holes, grown and rotated already), the 2,000 of one range as they are:
      `RandomFromFolder(root, augment=False, ratio=(0.1, 0.2))`. `MaskRatio` over the whole folder would not do: where eight draws
      miss the range, it unites and cuts masks, and with six ranges that changes 12 to 20 % of the draws above 10 % damage.
    - PConv's training masks (55,116, thin black strokes on white), which the paper dilates, rotates and crops at random:
      `RandomFromFolder(root, white_is_hole=False, dilate=(5 / 512, 47 / 512), rotate=180.0)`; the brushes are those of the
      set's page (masc.cs.gmu.edu/wiki/partialconv), 5-47 of 512 pixels.

    Args:
        root: folder with the mask files, `~` allowed; subfolders are searched.
        white_is_hole: true if white marks the hole in the files, false if black does.
        augment: true flips, turns by quarters and crops (to 75-100 % of either side) at random before resizing; false
            gives the files as they are.
        ratio: only files whose own hole share is `low <= share < high`, counted in pixels before any change; null takes all.
            All files are read for this when the source is made, in threads, once per process.
        dilate: sides of the smallest and largest square brush that goes along the holes' edges, as shares of the file's shorter
            side; a hole grows by half of it to each side. 0 leaves it as it is.
        rotate: greatest angle in degrees, to either side. The mask is enlarged as far as its corners need, at most by the
            square root of 2 if it is square, so that nothing beyond the file is seen.
    """

    root: str
    white_is_hole: bool = True
    augment: bool = True
    ratio: tuple[float, float] | None = None
    dilate: tuple[float, float] = (0.0, 0.0)
    rotate: float = 0.0

    def __post_init__(self) -> None:
        require_range("RandomFromFolder.dilate", self.dilate, least=0, most=1)
        if not 0 <= self.rotate <= 180:
            raise UserError(f"RandomFromFolder.rotate is {self.rotate}; it takes degrees in [0, 180]")
        if self.ratio is not None and not 0 <= self.ratio[0] < self.ratio[1]:
            raise UserError(
                f"RandomFromFolder.ratio is {tuple(self.ratio)}; it takes low and high with 0 <= low < high, or null"
            )
        found = self._found
        if not found:
            state = "holds no PNG or JPEG file" if self._folder.is_dir() else "does not exist"
            raise UserError(f"the mask folder {self._folder} {state}; put the masks there as .png or .jpg, or mend `root`")
        if self.ratio is None:
            count = min(_LOOKED_AT, len(found))
            self._judge(self._mask_ratios([found[place * len(found) // count] for place in range(count)]))
        else:
            self._judge(self._ratios)
            low, high = self.ratio
            _say_once(f"{len(self.files):,} of {len(found):,} masks in {self._folder} cover {low:.0%} to {high:.0%}")

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """One mask (1, H, W), 1 = hole. Raises UserError if the file that is drawn cannot be read."""
        chance = python_rng(rng)
        holes = _holes(self.files[chance.randrange(len(self.files))], self.white_is_hole)
        if self.dilate[1] > 0:
            brush = round(chance.uniform(*self.dilate) * min(holes.shape))
            holes = _dilated(holes, brush)
        if self.rotate > 0:
            holes = _rotated(holes, chance.uniform(-self.rotate, self.rotate))
        mask = torch.from_numpy(holes)[None]
        if self.augment:
            mask = mask.rot90(chance.randrange(4), (1, 2))
            mask = mask.flip([axis for axis in (1, 2) if chance.random() < 0.5])
            rows, columns = (_crop(length, chance) for length in mask.shape[1:])
            mask = mask[:, rows, columns]
        return _resize(mask, size).float()

    def fingerprint(self) -> str:
        """See `MaskSource`."""
        return fingerprint_of(self.files, self._folder)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files that masks are drawn from, sorted.

        Raises:
            UserError: none is within `ratio`.
        """
        if self.ratio is None:
            return self._found
        low, high = self.ratio
        files = tuple(path for path, share in zip(self._found, self._ratios, strict=True) if low <= share < high)
        if not files:
            raise UserError(
                f"none of the {len(self._ratios):,} masks in {self._folder} covers {low:.1%} to {high:.1%} of its image; they "
                f"cover {min(self._ratios):.1%} to {max(self._ratios):.1%}: mend `ratio`"
            )
        return files

    @cached_property
    def _found(self) -> tuple[Path, ...]:
        found = (path for path in self._folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        return tuple(sorted(path for path in found if path.is_file() and not path.name.startswith(".")))

    @cached_property
    def _ratios(self) -> list[float]:
        return self._mask_ratios(self._found)

    @property
    def _folder(self) -> Path:
        try:
            return Path(self.root).expanduser()
        except RuntimeError:  # a home of nobody, hence no folder either
            return Path(self.root)

    def _mask_ratios(self, files: Sequence[Path]) -> list[float]:
        """The share of each file that is hole, at the file's own size."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            measured = threads.map(lambda path: _white_share(path, path.stat().st_mtime_ns), files)
            bar = progress_bar(measured, description="measuring masks", unit="mask", total=len(files), disable=None)
            return [white if self.white_is_hole else 1 - white for white in bar]

    def _judge(self, shares: Sequence[float]) -> None:
        """Say what is wrong with masks of these hole shares: refuse what cannot train anything, warn of what should not."""
        looked_at = f"masks looked at in {self._folder} ({len(shares):,})"
        hole, known = ("white", "black") if self.white_is_hole else ("black", "white")
        mean, empty = fmean(shares), sum(share == 0 for share in shares)
        if mean in (0, 1):
            colour, lack = (known, "hole") if mean == 0 else (hole, "known pixel")
            raise UserError(
                f"all {looked_at} are {colour} throughout and have no {lack}; holes are {hole}, all else {known} "
                "(see `white_is_hole`)"
            )
        if mean > _MANY_HOLES:
            setting = str(not self.white_is_hole).lower()
            _say_once(
                f"warning: the mean hole share of the {looked_at} is {mean:.0%}; probably {known}, not {hole}, marks "
                f"their holes: set `white_is_hole: {setting}`"
            )
        if empty:
            _say_once(f"warning: no hole in {empty:,} of the {looked_at}; `ratio: [0.001, 1.0]` leaves such files out")


def _holes(path: str | Path, white_is_hole: bool) -> NDArray[np.uint8]:
    """(H, W), 1 = hole; `read_mask` says how a file is read and what it raises."""
    grey = _grey_png(path)
    if grey is None:
        try:
            with Image.open(path) as image:
                grey = _grey(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's on broken bytes
            raise UserError(f"cannot read the mask {path}: {error}") from error
    if grey.max() == 1:
        raise UserError(f"the mask {path} holds only the grey values 0 and 1, which is all black; save white as 255")
    return ((grey > 127) if white_is_hole else (grey <= 127)).view(np.uint8)


def _grey_png(path: str | Path) -> NDArray[np.uint8] | None:
    """(H, W) of a grey PNG of up to 8 bits, as most masks are: OpenCV takes half of Pillow's time and lets other threads run.

    None for all else, broken files included: of these Pillow says what is wrong, where OpenCV may return a part of a JPEG.
    """
    pixels = (
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if str(path).lower().endswith(".png") and Path(path).is_file() else None
    )
    return pixels.astype(np.uint8, copy=False) if pixels is not None and pixels.ndim == 2 and pixels.itemsize == 1 else None


@cache
def _white_share(path: Path, modified_ns: int) -> float:
    """Share of a file's pixels that is white, measured once for several sources, such as one for each range."""
    holes = _holes(path, white_is_hole=True)
    return np.count_nonzero(holes) / holes.size


@cache
def _say_once(line: str) -> None:
    """A line on stderr, once per process. Not a Python warning: those are off while a configuration is built."""
    print(line, file=sys.stderr)


def _dilated(holes: NDArray[np.uint8], brush: int) -> NDArray[np.uint8]:
    """Holes grown by a square of `brush` pixels; 1 or less changes nothing."""
    return np.asarray(cv2.dilate(holes, np.ones((brush, brush), np.uint8)), np.uint8) if brush > 1 else holes


def _rotated(holes: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Rotated about the middle at the same size, enlarged until the corners lie within the original."""
    height, width = holes.shape
    angle = math.radians(degrees)
    zoom = abs(math.cos(angle)) + abs(math.sin(angle)) * max(height / width, width / height)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, zoom)
    warped = cv2.warpAffine(holes, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W) uint8; 16-bit grey is scaled to 8 bits, where Pillow would clip it and call almost black white."""
    if image.mode.startswith("I"):
        return (np.asarray(image, dtype=np.int64) // 257).clip(0, 255).astype(np.uint8)
    return np.array(image.convert("L"))


def _crop(length: int, chance: Random) -> slice:
    kept = max(1, round(chance.uniform(_SMALLEST_CROP, 1) * length))
    start = chance.randint(0, length - kept)
    return slice(start, start + kept)


def _resize(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """`mask` (1, H, W) at another size, each pixel from the one under its centre, so that 0 and 1 stay 0 and 1."""
    return F.interpolate(mask[None], size, mode="nearest-exact")[0]
