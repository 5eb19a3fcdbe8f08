"""Mask files that belong to one image each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import MaskSource, fingerprint_of
from lit_inpaint.masks.read_mask import list_mask_files, read_mask
from lit_inpaint.storage.user_path import user_path

_MAX_NAMED = 5


@dataclass(frozen=True)
class PerImageMasks(MaskSource):
    """For each image the mask file of the same name, such as the fixed test masks of a paper.

    The mask of `a/x.jpg` is `a/x.png` or `a/x_mask.png` (or another image format) below `root`. `a/x` is the image's path below
    the data set's folder, or below the folder of its split, such as `val`. A mask has the size of its image and is cropped,
    resized and flipped with it, so the transform must not change colors.

    Args:
        root: folder with the mask files, `~` allowed.
        white_is_hole: true if white marks the hole in the files, false if black does.
    """

    root: str
    white_is_hole: bool = True

    def __post_init__(self) -> None:
        if not self._files:
            state = "holds no image file" if self._folder.is_dir() else "does not exist"
            raise UserError(f"the mask folder {self._folder} {state}; put the masks there, named like their images")

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """Raise UserError: there is no mask without an image."""
        raise UserError("PerImageMasks belong to images by name; give them as data.masks or data.val_masks, by themselves")

    def mask_of(self, name: str, size: tuple[int, int]) -> Tensor:
        """Read the mask of one image.

        Args:
            name: the image's path below the data set's folder, without its suffix.
            size: (H, W) of the image.

        Returns:
            (1, H, W) uint8, 0 or 1, 1 = hole.

        Raises:
            UserError: the mask is missing, unreadable, or of another size.
        """
        file = self._file_of(name)
        if file is None:
            raise UserError(self._missing([name]))
        mask = read_mask(file, white_is_hole=self.white_is_hole)
        if mask.shape[1:] != size:
            height, width = mask.shape[1:]
            raise UserError(f"the mask {file} is {width}x{height} pixels (width x height), its image {size[1]}x{size[0]}")
        return mask.to(torch.uint8)

    def check(self, names: list[str]) -> None:
        """Check that each image of a split has its own mask, before any file is read.

        Raises:
            UserError: images without a mask (naming the first), or two images with the same mask.
        """
        if missing := [name for name in names if self._file_of(name) is None]:
            raise UserError(f"{len(missing):,} of {len(names):,} images have no mask: {self._missing(missing)}")
        image_of: dict[Path | None, str] = {}
        for name in names:
            if (other := image_of.setdefault(file := self._file_of(name), name)) != name:
                raise UserError(
                    f"two images, {other} and {name}, have the mask {file}; sort the masks into folders like theirs"
                )

    def fingerprint(self) -> str:
        """See `MaskSource`."""
        return fingerprint_of(sorted(self._files.values()), self._folder)

    def _missing(self, names: list[str]) -> str:
        more = " …" if len(names) > _MAX_NAMED else ""
        first = ", ".join(names[:_MAX_NAMED])
        return f"no mask in {self._folder} for {first}{more}; the mask of x.jpg must be named x.png or x_mask.png"

    def _file_of(self, name: str) -> Path | None:
        within_split = name.partition("/")[2]
        keys = (name, f"{name}_mask", *((within_split, f"{within_split}_mask") if within_split else ()))
        return next((self._files[key] for key in keys if key in self._files), None)

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Every mask file by its path below the folder, without its suffix."""
        found: dict[str, Path] = {}
        for path in list_mask_files(self._folder):
            found.setdefault(path.relative_to(self._folder).with_suffix("").as_posix(), path)
        return found

    @property
    def _folder(self) -> Path:
        return user_path(self.root)
