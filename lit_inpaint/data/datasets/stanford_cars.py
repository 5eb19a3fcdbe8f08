"""Stanford Cars: cars with bounding boxes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.crop_to_bounding_box import square_crops
from lit_inpaint.data.datasets.folder_layouts import (
    count_note,
    fallback_splits,
    refuse_packed,
    require_images,
    root_or_archive,
)
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.splits import Splits, random_split
from lit_inpaint.data.transforms import RandomAffine
from lit_inpaint.errors import UserError

IMAGES = 16_185
"""Number of images in the official set: 8,144 to train and 8,041 to test classifiers, here used together."""
_DEVKITS = ("devkit", "car_devkit/devkit", ".")
_CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_READ_TABLE = """
import json, sys
import numpy as np
from scipy.io import loadmat

table = np.atleast_1d(loadmat(sys.argv[1], squeeze_me=True, variable_names=["annotations"])["annotations"])
column = "fname" if "fname" in (table.dtype.names or ()) else "relative_im_path"
content = {"names": [str(name) for name in table[column]]}
content |= {corner: table[corner].astype(np.int64).tolist() for corner in sys.argv[2:]}
json.dump(content, sys.stdout)
"""
"""Program of a process of its own: SciPy's reader of `.mat` files ends the process on some broken files."""


class StanfordCars(InpaintingData):
    """Stanford Cars: 16,185 cars, cropped to squares around their bounding boxes and split 60:20:20 at random by `seed`.

    Source: Krause et al., "3D Object Representations for Fine-Grained Categorization", 2013.

    Layout, below `root` or `root/stanford_cars`: either `car_ims/` and `cars_annos.mat`, or `cars_train/` and `cars_test/` with
    `cars_train_annos.mat` and `cars_test_annos.mat` (or `…_withlabels.mat`), beside them or in `devkit/`. Without box files
    whole images are used. Other folders are read as by `Folder`.

    Crops: the smallest square around each box, shifted into the image where it exceeds it, and reduced to the image's shorter
    side if it is larger, so that no car is left out. The report on partial convolutions with regular holes trains on "16000 car
    pictures" and states neither which nor how they were cropped.
    """

    expected_layout: ClassVar[str] = "car_ims/ and cars_annos.mat, or cars_train/, cars_test/ and devkit/, of Stanford Cars"

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Use the augmentation of the code that the report used, as `CUB200`."""
        return DatasetDefaults(root="data/stanford_cars", train_transform=RandomAffine())

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: a box file is broken, or names images that do not exist.
        """
        root = root_or_archive(self)
        for folder in (root, root / "stanford_cars"):
            if layout := list(_find_layout(folder)):
                return self._split_cars(layout)
        refuse_packed(root, ("car_ims.tgz", "cars_train.tgz", "cars_test.tgz"))
        return fallback_splits(root, self.seed, "no car_ims/ or cars_train/, so not Stanford Cars")

    def _split_cars(self, layout: list[tuple[Path, Path | None]]) -> Splits:
        """Split the images of all folders together, cropped if every folder has a box file."""
        if without_boxes := [folder.name for folder, box_file in layout if box_file is None]:
            images = ImageFiles.from_paths(path for folder, _ in layout for path in list_images(folder))
            splits = random_split(images, self.seed, (60, 20, 20))
            reason = f"whole images, as there are no boxes for {' and '.join(without_boxes)}/"
            return replace(splits, note=f"{reason}; {splits.note}", fallback=reason)
        folders = [folder for folder, _ in layout]
        names, boxes = zip(*(_read_boxes(folder, path) for folder, path in layout if path is not None), strict=True)
        files = ImageFiles.from_paths(folder / name for folder, part in zip(folders, names, strict=True) for name in part)
        crops, fits = square_crops(files, np.concatenate(boxes), self.on_bad_file)
        splits = random_split(crops, self.seed, (60, 20, 20))
        count = f"square crops of the cars, {np.count_nonzero(~fits):,} of them reduced to the image's shorter side"
        return replace(splits, note=f"{count}; {count_note(len(files), IMAGES)}; {splits.note}")


def _find_layout(root: Path) -> Iterator[tuple[Path, Path | None]]:
    """Yield each folder of images below `root` with its box file, if there is one."""
    layout: dict[str, tuple[str, ...]] = {"car_ims": ("cars_annos",)}
    if not (root / "car_ims").is_dir():
        layout = {"cars_train": ("cars_train_annos",), "cars_test": ("cars_test_annos_withlabels", "cars_test_annos")}
    for name, tables in layout.items():
        folders = (root / name / name, root / name)  # one copy of the set has each folder inside a folder of the same name
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is not None:
            box_files = (root / devkit / f"{table}.mat" for table in tables for devkit in _DEVKITS)
            yield folder, next((path for path in box_files if path.is_file()), None)


def _read_boxes(folder: Path, path: Path) -> tuple[list[str], Indices]:
    """Return names below `folder` and boxes (N, 4): left, top, width, height.

    The file has corners, counted from 1, both inside the box.
    """
    try:
        command = [sys.executable, "-P", "-c", _READ_TABLE, str(path), *_CORNERS]
        table = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        names = [name.rsplit("/", 1)[-1] for name in table["names"]]
        left, top, right, bottom = (np.array(table[corner], np.int64) for corner in _CORNERS)
    except (subprocess.CalledProcessError, ValueError) as error:
        raise UserError(f"{path} is not the file of boxes that comes with Stanford Cars, or is broken: get it again") from error
    require_images(folder, names, path)
    boxes = np.stack((left - 1, top - 1, right - left + 1, bottom - top + 1), axis=1)
    if boxes[:, 2:].min() < 1:
        raise UserError(
            f"{path} has boxes without width or height, such as that of {names[int(boxes[:, 2:].min(axis=1).argmin())]}"
        )
    return names, boxes
