"""Any folder of images."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lit_inpaint.data.datamodule import InpaintingData
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.split_folders import split_folders
from lit_inpaint.data.splits import Splits, folder_splits


class Folder(InpaintingData):
    """Any folder of images (jpg, png, webp, avif, gif, bmp, tif, at any depth).

    The sub-folders `train`, `val` and `test` are the splits where they exist, also as `training`, `valid`, `validation` or
    `testing` and in upper case; val is used as test, or test as val, if one is missing. Otherwise the images are split 90:5:5
    by their names and `seed`; images that are added later do not move others from train to val or test.
    """

    expected_layout: ClassVar[str] = "images (jpg, png, webp, avif, gif, bmp, tif; as they are, or in train/ val/ test/)"

    def splits(self) -> Splits:
        """See the class."""
        return folder_splits(self.root_folder(), self.seed)


class EvaluationFolder(InpaintingData):
    """A folder of images to evaluate on, without any to train on.

    If it has a sub-folder for test or val, the splits are those of `Folder`. Otherwise all images are evaluated.
    """

    expected_layout: ClassVar[str] = Folder.expected_layout

    def splits(self) -> Splits:
        """See the class."""
        root = self.root_folder()
        if not split_folders(root).keys().isdisjoint(("val", "test")):
            return folder_splits(root, self.seed)
        images = list_images(root)
        return Splits(images.take(np.zeros(0, np.int64)), images, images, "all images are evaluated")
