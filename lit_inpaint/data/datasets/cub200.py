"""CUB-200-2011, 11,788 birds with bounding boxes (Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from lit_inpaint.data.archives import is_archive
from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.crop_to_bounding_box import boxes_to_squares
from lit_inpaint.data.datasets.folder_layouts import counted, fallback_splits, missing, place_of
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.splits import Splits, random_split
from lit_inpaint.data.transforms.augmentation import RandomAffine
from lit_inpaint.errors import UserError

IMAGES = 11_788
"""Images of the official set."""
SQUARES = 9_581
"""Squares that the report on partial convolutions with regular holes kept of them (section IV)."""
LISTS = ("images.txt", "bounding_boxes.txt")


class CUB200(InpaintingData):
    """Squares around the birds, split 6:2:2 by the seed; from any other folder of images it takes what `Folder` would.

    Each square is the smallest around a bird's bounding box. Where it leaves the picture it is moved inside, and where the
    picture is too small for it the bird is left out. So the report on partial convolutions with regular holes may be read (it
    drops boxes that cannot be contained in a square because of the picture's dimensions), and so its count speaks: with the
    boxes and sizes in clovaai/wsolevaluation this keeps 9,582 birds, one more than published, while 8,027 have a square around
    their very middle inside the picture. Which bird is in which part is not published.

    `images/`, `images.txt` and `bounding_boxes.txt` lie in `root` or in `CUB_200_2011`, which the archive unpacks to.
    """

    expected_layout: ClassVar[str] = "CUB_200_2011/ of CUB-200-2011 (https://www.vision.caltech.edu/datasets/cub_200_2011/)"

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """The augmentation of the code that the report used."""
        return DatasetDefaults(root="data/cub200", train_transform=RandomAffine())

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: one of the two lists is missing, broken, or names images that are not there.
        """
        root = place_of(self)
        places = (root / "CUB_200_2011", root)
        home = next((place for place in places if any((place / name).is_file() for name in LISTS)), None)
        if home is None:
            for name in ("CUB_200_2011.tgz", "CUB_200_2011.tar.gz"):
                is_archive(root / name)  # says how to unpack it
            return fallback_splits(root, self.seed, f"whole pictures, as there is no {LISTS[0]} and {LISTS[1]}")
        files, boxes = _birds(home)
        squares, fit = boxes_to_squares(files, boxes, self.on_bad_file)
        plain = random_split(squares.take(np.flatnonzero(fit)), self.seed, (60, 20, 20))
        kept = f"squares around {fit.sum():,} birds, the paper has {SQUARES:,}"
        return replace(plain, note=f"{kept}; {counted(len(files), IMAGES)}; {plain.note}")


def _birds(home: Path) -> tuple[ImageFiles, Indices]:
    """The images and their boxes: left, top, width, height."""
    names, boxes = (_lines(home / name) for name in LISTS)
    if names.keys() != boxes.keys():
        odd = sorted(names.keys() ^ boxes.keys())
        raise UserError(
            f"{home / LISTS[0]} and {LISTS[1]} list different images ({missing(odd)}): unpack both from the archive"
        )
    images = home / "images"
    there = set(list_images(images).names()) if images.is_dir() else set()
    if absent := [name for name in names.values() if name not in there]:
        named = f"{len(absent):,} of {len(names):,} images in {home / LISTS[0]} are not in {images}"
        raise UserError(f"{named} ({missing(absent)}): unpack the archive again")
    numbers = sorted(names, key=names.__getitem__)
    return ImageFiles.from_names(images, (names[number] for number in numbers)), np.array(
        [_box(home, n, boxes[n]) for n in numbers]
    )


def _lines(path: Path) -> dict[str, str]:
    """Text by image number: each line is a number, a space, and the text."""
    if not path.is_file():
        raise UserError(f"{path} is missing: it belongs to CUB-200-2011 and stands in the archive beside images/")
    pairs = (line.split(maxsplit=1) for line in path.read_text(errors="surrogateescape").splitlines() if line.strip())
    lines = {pair[0]: pair[-1].strip() for pair in pairs}
    if not lines:
        raise UserError(f"{path} is empty: unpack the archive again")
    return lines


def _box(home: Path, number: str, text: str) -> list[int]:
    try:
        left, top, width, height = (round(float(part)) for part in text.split())
    except (ValueError, OverflowError):
        width = height = 0
    if width < 1 or height < 1:
        raise UserError(f"{home / LISTS[1]} has no left, top, width and height for image {number}, but {text!r}")
    return [left, top, width, height]
