"""Flickr-Faces-HQ (Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019).

From https://github.com/NVlabs/ffhq-dataset: `images1024x1024` (89 GB) or `thumbnails128x128` (2 GB), as folders or as the zip
archives of the same names: 70,000 images, `00000/00000.png` to `69000/69999.png`, the first 60,000 to train and the last
10,000 to validate.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import (
    all_images,
    counted,
    fallback_splits,
    has_parts,
    images_at,
    numbers_of,
    place_of,
)
from lit_inpaint.data.splits import Splits
from lit_inpaint.data.transforms.crops import RandomResizedCrop

IMAGES = 70_000
TRAIN = 60_000
FOLDERS = ("images1024x1024", "images512x512", "images256x256", "thumbnails128x128", "in-the-wild-images")


class FFHQ(InpaintingData):
    """FFHQ in its official split, with the validation images to test on; from any other folder it takes what `Folder` would.

    The largest aligned images in `root` are taken. `--data.root …/thumbnails128x128` takes the thumbnails; any copy of all
    70,000, in folders or flat, will do. DeepGIN tests on 1,000 images drawn from FFHQ: `--data.test_images 1000` draws from
    the last 10,000.
    """

    expected_layout: ClassVar[str] = (
        "images1024x1024/ or thumbnails128x128/ of FFHQ, or one of them as .zip (https://github.com/NVlabs/ffhq-dataset)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Whole faces."""
        return DatasetDefaults(root="data/ffhq", train_transform=RandomResizedCrop(scale=(1.0, 1.0)))

    def splits(self) -> Splits:
        """See the class."""
        place = place_of(self)
        files = images_at(place, FOLDERS, FOLDERS, whole=True)
        if not len(files) and not has_parts(place) and len(whole := all_images(place)) == IMAGES:
            files = whole
        if not len(files):
            return fallback_splits(
                place, self.seed, f"no {FOLDERS[0]} or other copy of all {IMAGES:,} images, so not the official split"
            )
        numbers = numbers_of(files)
        train, val = (files.take(np.flatnonzero(part)) for part in ((numbers >= 0) & (numbers < TRAIN), numbers >= TRAIN))
        return Splits(train, val, val, f"official split, {counted(len(train) + len(val), IMAGES)}, test is val")
