"""Stanford Cars, 16,185 cars with boxes (Krause et al., "3D Object Representations for Fine-Grained Categorization", 2013)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.io import loadmat

from lit_inpaint.data.archives import is_archive
from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.crop_to_bounding_box import boxes_to_squares
from lit_inpaint.data.datasets.folder_layouts import counted, fallback_splits, missing, place_of
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.splits import Splits, random_split
from lit_inpaint.data.transforms.augmentation import RandomAffine
from lit_inpaint.errors import UserError

IMAGES = 16_185
"""Images of the official set: 8,144 to train and 8,041 to test classifiers, here taken together."""
_KITS = ("devkit", "car_devkit/devkit", ".")
_CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


class StanfordCars(InpaintingData):
    """Squares around the cars, split 6:2:2 by the seed; from any other folder of images it takes what `Folder` would.

    Each square is the smallest around a car's bounding box, moved into the picture where it leaves it, and cut to the picture's
    shorter side where that is less, so that no car is left out: the report on partial convolutions with regular holes trains on
    "16000 car pictures" and says neither which nor how they were cut.

    Below `root`, or `root/stanford_cars`, lie either `car_ims/` and `cars_annos.mat`, or `cars_train/` and `cars_test/` with
    `cars_train_annos.mat` and `cars_test_annos.mat` (also `…_withlabels.mat`), beside them or in `devkit/`. Without boxes whole
    pictures are taken.
    """

    expected_layout: ClassVar[str] = "car_ims/ and cars_annos.mat, or cars_train/, cars_test/ and devkit/, of Stanford Cars"

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """As for `CUB200`."""
        return DatasetDefaults(root="data/stanford_cars", train_transform=RandomAffine())

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: a file of boxes is broken, or names images that are not there.
        """
        root = place_of(self)
        for home in (root, root / "stanford_cars"):
            if parts := list(_parts(home)):
                return self._cars(parts)
        for name in ("car_ims.tgz", "cars_train.tgz", "cars_test.tgz"):
            is_archive(root / name)  # says how to unpack it
        return fallback_splits(root, self.seed, "no car_ims/ or cars_train/, so not Stanford Cars")

    def _cars(self, parts: list[tuple[Path, Path | None]]) -> Splits:
        """The split of one layout: folders of images with the files of their boxes."""
        if boxless := [folder.name for folder, boxes in parts if boxes is None]:
            plain = random_split(
                ImageFiles.from_paths(path for folder, _ in parts for path in list_images(folder)), self.seed, (60, 20, 20)
            )
            return replace(plain, note=f"whole pictures, as there are no boxes for {' and '.join(boxless)}/; {plain.note}")
        read = [_boxes(folder, path) for folder, path in parts if path is not None]
        files = ImageFiles.from_paths(
            folder / name for (folder, _), (names, _) in zip(parts, read, strict=True) for name in names
        )
        squares, fit = boxes_to_squares(files, np.concatenate([boxes for _, boxes in read]), self.on_bad_file)
        plain = random_split(squares, self.seed, (60, 20, 20))
        cut = f"squares around the cars, {np.count_nonzero(~fit):,} of them cut to the picture's shorter side"
        return replace(plain, note=f"{cut}; {counted(len(files), IMAGES)}; {plain.note}")


def _parts(home: Path) -> Iterator[tuple[Path, Path | None]]:
    """Folders of images below `home`, each with the file of its boxes, if there is one."""
    layout: dict[str, tuple[str, ...]] = {"car_ims": ("cars_annos",)}
    if not (home / "car_ims").is_dir():
        layout = {"cars_train": ("cars_train_annos",), "cars_test": ("cars_test_annos_withlabels", "cars_test_annos")}
    for name, tables in layout.items():
        folders = (home / name / name, home / name)  # one copy of the set has each folder in itself
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is not None:
            places = (home / kit / f"{table}.mat" for table in tables for kit in _KITS)
            yield folder, next((path for path in places if path.is_file()), None)


def _boxes(folder: Path, path: Path) -> tuple[list[str], Indices]:
    """Names below `folder` and boxes: left, top, width, height. In the file they are corners, counted from 1, both inside."""
    try:
        table = np.atleast_1d(loadmat(path, squeeze_me=True, variable_names=["annotations"])["annotations"])
        column = "fname" if "fname" in (table.dtype.names or ()) else "relative_im_path"
        names = [str(name).rsplit("/", 1)[-1] for name in table[column]]
        left, top, right, bottom = (table[corner].astype(np.int64) for corner in _CORNERS)
    except Exception as error:  # what scipy raises on broken bytes is not documented
        raise UserError(f"{path} is not the file of boxes that comes with Stanford Cars, or is broken: get it again") from error
    there = set(list_images(folder).names())
    if absent := [name for name in names if name not in there]:
        named = f"{len(absent):,} of {len(names):,} images in {path} are not in {folder}"
        raise UserError(f"{named} ({missing(absent)}): unpack the archive again")
    boxes = np.stack((left - 1, top - 1, right - left + 1, bottom - top + 1), axis=1)
    if boxes[:, 2:].min() < 1:
        raise UserError(
            f"{path} has boxes without width or height, such as that of {names[int(boxes[:, 2:].min(axis=1).argmin())]}"
        )
    return names, boxes
