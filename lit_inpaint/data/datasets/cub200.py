"""CUB-200-2011: birds with bounding boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.crop_to_bounding_box import square_crops
from lit_inpaint.data.datasets.folder_layouts import (
    abbreviate,
    count_note,
    fallback_splits,
    refuse_packed,
    require_images,
    root_or_archive,
)
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.splits import Splits, random_split
from lit_inpaint.data.transforms import RandomAffine
from lit_inpaint.errors import UserError
from lit_inpaint.storage.text_file import read_text_file

IMAGES = 11_788
"""Number of images in the official set."""
CROPS = 9_581
"""Number of square crops in the report on partial convolutions with regular holes (section IV)."""
LISTS = ("images.txt", "bounding_boxes.txt")


class CUB200(InpaintingData):
    """CUB-200-2011: 11,788 birds, cropped to squares around their bounding boxes and split 60:20:20 at random by `seed`.

    Source: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011; https://www.vision.caltech.edu/datasets/cub_200_2011/.

    Layout: `images/`, `images.txt` and `bounding_boxes.txt`, in `root` or in `CUB_200_2011/`, which the archive unpacks to.
    Other folders are read as by `Folder`.

    Crops: the smallest square around each box, shifted into the image where it exceeds it. Birds whose square is larger than
    the image are left out. The report on partial convolutions with regular holes drops boxes that no square can contain because
    of the image's dimensions, which this rule implements, and keeps 9,581 birds (section IV). By the boxes and sizes listed in
    clovaai/wsolevaluation this rule keeps one more; `fit` prints how many it keeps of your files. Which bird is in which split
    is not published.
    """

    expected_layout: ClassVar[str] = "CUB_200_2011/ of CUB-200-2011 (https://www.vision.caltech.edu/datasets/cub_200_2011/)"

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Use the augmentation of the code that the report used."""
        return DatasetDefaults(root="data/cub200", train_transform=RandomAffine())

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: one of the two lists is missing, broken, or names images that do not exist.
        """
        root = root_or_archive(self)
        folders = (root / "CUB_200_2011", root)
        folder = next((folder for folder in folders if any((folder / name).is_file() for name in LISTS)), None)
        if folder is None:
            refuse_packed(root, ("CUB_200_2011.tgz", "CUB_200_2011.tar.gz"))
            return fallback_splits(root, self.seed, f"whole images, as there is no {LISTS[0]} and {LISTS[1]}")
        files, boxes = _read_birds(folder)
        crops, fits = square_crops(files, boxes, self.on_bad_file)
        splits = random_split(crops.take(np.flatnonzero(fits)), self.seed, (60, 20, 20))
        count = f"square crops of {fits.sum():,} birds, the paper has {CROPS:,}"
        return replace(splits, note=f"{count}; {count_note(len(files), IMAGES)}; {splits.note}")


def _read_birds(folder: Path) -> tuple[ImageFiles, Indices]:
    """Return the images and their boxes (N, 4): left, top, width, height."""
    names, boxes = (_read_numbered_lines(folder / name) for name in LISTS)
    if names.keys() != boxes.keys():
        unmatched = sorted(names.keys() ^ boxes.keys())
        raise UserError(
            f"{folder / LISTS[0]} and {LISTS[1]} list different images ({abbreviate(unmatched)}): unpack both from the archive"
        )
    images = folder / "images"
    require_images(images, list(names.values()), folder / LISTS[0])
    numbers = sorted(names, key=names.__getitem__)
    files = ImageFiles.from_names(images, (names[number] for number in numbers))
    return files, np.array([_parse_box(folder, number, boxes[number]) for number in numbers])


def _read_numbered_lines(path: Path) -> dict[str, str]:
    """Return the text of each line by image number: a line is a number, a space, and the text."""
    if not path.is_file():
        raise UserError(f"{path} is missing: it belongs to CUB-200-2011 and is in the archive beside images/")
    pairs = (line.split(maxsplit=1) for line in read_text_file(path).splitlines() if line.strip())
    lines = {pair[0]: pair[-1].strip() for pair in pairs}
    if not lines:
        raise UserError(f"{path} is empty: unpack the archive again")
    return lines


def _parse_box(folder: Path, number: str, text: str) -> list[int]:
    try:
        left, top, width, height = (round(float(part)) for part in text.split())
    except (ValueError, OverflowError):
        width = height = 0
    if width < 1 or height < 1:
        raise UserError(f"{folder / LISTS[1]} has no left, top, width and height for image {number}, but {text!r}")
    return [left, top, width, height]
