"""Flickr-Faces-HQ (FFHQ)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import count_note, fallback_splits, file_numbers, find_images, root_or_archive
from lit_inpaint.data.splits import Splits
from lit_inpaint.data.transforms import RandomResizedCrop

IMAGES = 70_000
TRAIN = 60_000
FOLDERS = ("images1024x1024", "images512x512", "images256x256", "thumbnails128x128", "in-the-wild-images")


class FFHQ(InpaintingData):
    """Flickr-Faces-HQ: 70,000 faces of 1024x1024 pixels, 60,000 to train and 10,000 to validate and test.

    Source: Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019;
    https://github.com/NVlabs/ffhq-dataset.

    Layout: `images1024x1024/` (89 GB) or `thumbnails128x128/` (2 GB), as folders or as `.zip` archives of the same names, with
    `00000/00000.png` to `69000/69999.png`. The largest aligned images below `root` are used; `--data.root …/thumbnails128x128`
    selects the thumbnails. Any copy of all 70,000 images, in folders or flat, is accepted. Other folders are read as by
    `Folder`.

    Split: the official one by file numbers, 0 to 59,999 and 60,000 to 69,999. DeepGIN tests on 1,000 random images of FFHQ:
    `--data.test_images 1000` chooses from the last 10,000.
    """

    expected_layout: ClassVar[str] = (
        "images1024x1024/ or thumbnails128x128/ of FFHQ, or one of them as .zip (https://github.com/NVlabs/ffhq-dataset)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Train on whole faces."""
        return DatasetDefaults(root="data/ffhq", train_transform=RandomResizedCrop(scale=(1.0, 1.0)))

    def splits(self) -> Splits:
        """See the class."""
        root = root_or_archive(self)
        files = find_images(root, FOLDERS, FOLDERS, whole_archive=True, complete_counts=(IMAGES,))
        if not len(files):
            return fallback_splits(
                root, self.seed, f"no {FOLDERS[0]} or other copy of all {IMAGES:,} images, so not the official split"
            )
        numbers = file_numbers(files)
        train, val = (files.take(np.flatnonzero(part)) for part in ((numbers >= 0) & (numbers < TRAIN), numbers >= TRAIN))
        return Splits(train, val, val, f"official split, {count_note(len(train) + len(val), IMAGES)}, test is val")
