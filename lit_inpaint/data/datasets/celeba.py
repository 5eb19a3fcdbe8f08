"""CelebA: aligned and cropped faces."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import (
    count_note,
    fallback_splits,
    file_numbers,
    find_images,
    find_text,
    root_or_archive,
)
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.splits import Splits
from lit_inpaint.data.transforms import RandomResizedCrop

IMAGES = 202_599
LAST_NUMBERS = (162_770, 182_637)
"""Number of the last training image and of the last validation image: the official splits are consecutive."""
FOLDERS = ("img_align_celeba", "Img/img_align_celeba")
ARCHIVES = ("img_align_celeba", "Img/img_align_celeba", "archive")
PARTITIONS = tuple(f"{folder}list_eval_partition.{suffix}" for folder in ("", "Eval/", "Anno/") for suffix in ("txt", "csv"))


class CelebA(InpaintingData):
    """CelebA: 202,599 aligned faces of 178x218 pixels; 162,770 to train, 19,867 to validate, 19,962 to test.

    Source: Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015;
    https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.

    Layout: `img_align_celeba/` or `img_align_celeba.zip`, in `root` or in its sub-folder `Img`, or Kaggle's `archive.zip`.
    Other folders are read as by `Folder`.

    Split: the official one from `list_eval_partition.txt` (or Kaggle's `.csv`), in `root`, `Eval` or `Anno`, or in the archive.
    Without that file, the official one by file numbers.
    """

    expected_layout: ClassVar[str] = (
        "img_align_celeba/ or img_align_celeba.zip, and list_eval_partition.txt, of CelebA "
        "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Train on whole faces: squares as wide as the image."""
        return DatasetDefaults(root="data/celeba", train_transform=RandomResizedCrop(scale=(1.0, 1.0)))

    def splits(self) -> Splits:
        """See the class."""
        root = root_or_archive(self)
        files = find_images(root, FOLDERS, ARCHIVES)
        if not len(files):
            return fallback_splits(root, self.seed, "no img_align_celeba, so not the official split")
        partition = find_text(root, PARTITIONS, ARCHIVES)
        parts = split_of_numbers(file_numbers(files)) if partition is None else _split_of_files(files, partition)
        train, val, test = (files.take(np.flatnonzero(parts == part)) for part in range(3))
        rule = "official split" if partition is not None else "official split by numbers, as list_eval_partition.txt is missing"
        return Splits(train, val, test, f"{rule}, {count_note(len(train) + len(val) + len(test), IMAGES)}")


def split_of_numbers(numbers: Indices) -> Indices:
    """Return (N,) 0 (train), 1 (val) or 2 (test) for CelebA's images with these numbers, which start at 1; -1 for others."""
    return np.where((numbers < 1) | (numbers > IMAGES), -1, np.searchsorted(LAST_NUMBERS, numbers))


def _split_of_files(files: ImageFiles, partition: str) -> Indices:
    """Return (N,) the split of each file, read from lines `name 0|1|2`; -1 for files without a line."""
    split = dict(re.findall(r"^(\S+?)[\s,]+([012])\s*$", partition, flags=re.MULTILINE))
    return np.fromiter((int(split.get(name.rsplit("/", 1)[-1], -1)) for name in files.names()), np.int64, len(files))
