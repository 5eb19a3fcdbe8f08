"""CelebA, aligned and cropped faces of 178x218 pixels (Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015).

From https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html: `img_align_celeba.zip`, as it is or unpacked, and
`list_eval_partition.txt` beside it; or Kaggle's `archive.zip`. 202,599 images: 162,770 to train, 19,867 to validate, 19,962 to
test.
"""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import counted, fallback_splits, images_at, numbers_of, place_of, text_at
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.splits import Splits
from lit_inpaint.data.transforms.crops import RandomResizedCrop

IMAGES = 202_599
LAST = (162_770, 182_637)
"""Numbers of the last training and the last validation image: the official parts follow each other."""
FOLDERS = ("img_align_celeba", "Img/img_align_celeba")
ARCHIVES = ("img_align_celeba", "Img/img_align_celeba", "archive")
PARTITIONS = tuple(f"{folder}list_eval_partition.{end}" for folder in ("", "Eval/", "Anno/") for end in ("txt", "csv"))


class CelebA(InpaintingData):
    """The official split of CelebA; from any other folder of images it takes what `Folder` would.

    The images lie in `img_align_celeba/` or `img_align_celeba.zip`, in `root` or in its `Img`. The split stands in
    `list_eval_partition.txt` (or Kaggle's `.csv`), in `root`, `Eval` or `Anno`, or in the archive; without it the files'
    numbers tell.
    """

    expected_layout: ClassVar[str] = (
        "img_align_celeba/ or img_align_celeba.zip, and list_eval_partition.txt, of CelebA "
        "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Whole faces: squares as wide as the picture."""
        return DatasetDefaults(root="data/celeba", train_transform=RandomResizedCrop(scale=(1.0, 1.0)))

    def splits(self) -> Splits:
        """See the class."""
        place = place_of(self)
        files = images_at(place, FOLDERS, ARCHIVES)
        if not len(files):
            return fallback_splits(place, self.seed, "no img_align_celeba, so not the official split")
        partition = text_at(place, PARTITIONS, ARCHIVES)
        parts = parts_of(numbers_of(files)) if partition is None else _stated(files, partition)
        train, val, test = (files.take(np.flatnonzero(parts == part)) for part in range(3))
        rule = "official split" if partition is not None else "official split by numbers, as list_eval_partition.txt is missing"
        return Splits(train, val, test, f"{rule}, {counted(len(train) + len(val) + len(test), IMAGES)}")


def parts_of(numbers: Indices) -> Indices:
    """(N,) 0, 1 or 2 for training, validation and test images of CelebA with these numbers (from 1 on), else -1."""
    return np.where((numbers < 1) | (numbers > IMAGES), -1, np.searchsorted(LAST, numbers))


def _stated(files: ImageFiles, partition: str) -> Indices:
    """The part of each file in the partition's lines, `name 0|1|2`; -1 for files it does not name."""
    part = dict(re.findall(r"^(\S+?)[\s,]+([012])\s*$", partition, flags=re.MULTILINE))
    return np.fromiter((int(part.get(name.rsplit("/", 1)[-1], -1)) for name in files.names()), np.int64, len(files))
