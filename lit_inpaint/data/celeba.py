"""CelebA, aligned and cropped faces of 178x218 pixels (Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from lit_inpaint.data.lists import Files, Lists, folder_lists
from lit_inpaint.data.module import Defaults, InpaintingData
from lit_inpaint.data.reading import images_in
from lit_inpaint.data.views import RandomSquare

IMAGES = 202_599
"""Images of the official set: 162,770 to train, 19,867 to validate, 19,962 to test."""


class CelebA(InpaintingData):
    """The official split of CelebA; from any other folder of images it takes what `Folder` would.

    `img_align_celeba/` and `list_eval_partition.txt` (or Kaggle's `.csv`) lie in `root` or where the archives unpack them, in
    `Img`, `Eval` or `Anno`.
    """

    content: ClassVar[str] = (
        "img_align_celeba/ and list_eval_partition.txt of CelebA (https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> Defaults:
        """Whole faces: squares as wide as the picture."""
        return Defaults(root="data/celeba", train_view=RandomSquare(scale=(1.0, 1.0)))

    def lists(self) -> Lists:
        """See the class."""
        root = self.folder()
        pictures = next(
            (path for path in (root / "img_align_celeba", root / "Img" / "img_align_celeba") if path.is_dir()), None
        )
        places = [root / folder / f"list_eval_partition.{end}" for folder in ("", "Eval", "Anno") for end in ("txt", "csv")]
        partition = next((path for path in places if path.is_file()), None)
        if pictures is None or partition is None:
            missing = "img_align_celeba/" if pictures is None else "list_eval_partition.txt"
            plain = folder_lists(root, self.seed)
            return replace(plain, note=f"no {missing}, so not the official split: {plain.note}")
        return _official(images_in(pictures), partition)


def _official(files: Files, partition: Path) -> Lists:
    """Sort the files by the partition's lines, `name 0|1|2`; files it does not name are left out."""
    part = dict(re.findall(r"^(\S+?)[\s,]+([012])\s*$", partition.read_text(), flags=re.MULTILINE))
    train, val, test = (tuple(file for file in files if part.get(file.name) == number) for number in "012")
    found = len(train) + len(val) + len(test)
    return Lists(train, val, test, f"official split, {found:,} of the {IMAGES:,} official images")
