"""Tiny ImageNet: 64x64 images of 200 classes."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import count_note, fallback_splits, find_images, root_or_archive
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import Splits
from lit_inpaint.data.transforms import Resize

TRAIN = 100_000
TEST = 10_000
VAL_PER_CLASS = 5
NAME = "tiny-imagenet-200"


class TinyImageNet(InpaintingData):
    """Tiny ImageNet: 99,000 images of 64x64 to train, 1,000 to validate, 10,000 to test.

    Source: Stanford CS231N, http://cs231n.stanford.edu/tiny-imagenet-200.zip. A subset of ImageNet: 500 training and 50
    validation images of each of 200 classes. The 10,000 official test images are not used.

    Layout: `tiny-imagenet-200/` with `train/<class>/images/` and `val/images/`, or `tiny-imagenet-200.zip`. Other folders are
    read as by `Folder`.

    Split: the official validation images are the test images. The five highest-numbered training images of each class are the
    validation images, so that choices during training use no test image. Without `val`, they are the test images too.
    """

    expected_layout: ClassVar[str] = f"{NAME}/ or {NAME}.zip of Tiny ImageNet (http://cs231n.stanford.edu/{NAME}.zip)"

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Read from `data/tiny_imagenet`. All images are 64x64, so none is cropped; training images are flipped."""
        return DatasetDefaults(root="data/tiny_imagenet", train_transform=Resize(flip=0.5), val_transform=Resize())

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: the archive is damaged.
        """
        root = root_or_archive(self)
        train = find_images(root, (f"{NAME}/train", "train"), (NAME,))
        test = find_images(root, (f"{NAME}/val", "val"), (NAME,))
        classes: dict[str, list[tuple[int, int]]] = {}
        for index, name in enumerate(train.names()):
            if match := re.search(r"(n\d{8})_(\d+)\.JPEG$", name):
                classes.setdefault(match[1], []).append((int(match[2]), index))
        if not classes:
            return fallback_splits(root, self.seed, f"no {NAME}, so not the official split")
        held_out = np.zeros(len(train), bool)
        for images in classes.values():
            held_out[[index for _, index in sorted(images)[1:][-VAL_PER_CLASS:]]] = True
        val, counts = (
            _take(train, held_out),
            f"{count_note(len(train), TRAIN, 'training images')}, {count_note(len(test), TEST, 'validation images')}",
        )
        if not len(test):
            return Splits(_take(train, ~held_out), val, val, f"official training images, val from them, test is val; {counts}")
        return Splits(_take(train, ~held_out), val, test, f"official split, val from train; {counts}")


def _take(images: ImageFiles, chosen: NDArray[np.bool_]) -> ImageFiles:
    return images.take(np.flatnonzero(chosen))
