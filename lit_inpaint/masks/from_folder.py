"""Masks from image files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lit_inpaint.masks.base import MaskSource, dice
from lit_inpaint.types import UserError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_SMALLEST_CROP = 0.75


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
    try:
        with Image.open(path) as image:
            grey = _grey(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's on broken bytes
        raise UserError(f"cannot read the mask {path}: {error}") from error
    if grey.max() == 1:
        raise UserError(f"the mask {path} holds only the grey values 0 and 1, which is all black; save white as 255")
    hole = (grey > 127) if white_is_hole else (grey <= 127)
    mask = torch.from_numpy(hole.astype(np.uint8))[None]
    return (mask if size is None else _resize(mask, size)).float()


@dataclass(frozen=True)
class FromFolder(MaskSource):
    """A file drawn at random from a folder of masks, such as the irregular masks of PConv (Liu et al., 2018).

    All PNG and JPEG files below the folder take part, in the order of their paths; hidden files do not. The list is made
    once, when the source is constructed, so that a wrong folder is reported before training starts. Files are read when
    drawn, so any number of them fits. A file, or a crop of it, may have no hole at all: `DamageRatio` excludes that.

    Args:
        root: folder with the mask files, `~` allowed; subfolders are searched.
        white_is_hole: true if white marks the hole in the files, false if black does.
        augment: true flips, turns by quarters and crops (to 75-100 % of either side) at random before resizing; false
            gives the files as they are.
    """

    root: str
    white_is_hole: bool = True
    augment: bool = True

    def __post_init__(self) -> None:
        if not self.files:
            state = "holds no PNG or JPEG file" if self._folder.is_dir() else "does not exist"
            raise UserError(f"the mask folder {self._folder} {state}; put the masks there as .png or .jpg, or mend `root`")

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """One mask (1, H, W), 1 = hole. Raises UserError if the file that is drawn cannot be read."""
        chance = dice(rng)
        path = self.files[chance.randrange(len(self.files))]
        if not self.augment:
            return read_mask(path, size, self.white_is_hole)
        mask = read_mask(path, white_is_hole=self.white_is_hole)
        mask = mask.rot90(chance.randrange(4), (1, 2))
        mask = mask.flip([axis for axis in (1, 2) if chance.random() < 0.5])
        rows, columns = (_crop(length, chance) for length in mask.shape[1:])
        return _resize(mask[:, rows, columns], size)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The mask files, sorted."""
        found = (path for path in self._folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        return tuple(sorted(path for path in found if path.is_file() and not path.name.startswith(".")))

    @property
    def _folder(self) -> Path:
        return Path(self.root).expanduser()


def _grey(image: Image.Image) -> np.ndarray:
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
