"""Oxford Buildings: photographs of Oxford landmarks."""

from __future__ import annotations

from typing import ClassVar

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import count_note, fallback_splits, find_images, random_parts, root_or_archive
from lit_inpaint.data.splits import Splits

IMAGES = (5_062, 5_063)
"""Number of images on the official page, and in the archive."""
TEST = 523
"""Number of test images of DeepGIN (section 6.2)."""
FOLDERS = ("oxbuild_images", "oxbuild_images-v1", "jpg", "oxford5k/jpg")
ARCHIVES = ("oxbuild_images", "oxbuild_images-v1")


class Oxford(InpaintingData):
    """Oxford Buildings: 5,063 photographs of landmarks, of which 523 are chosen at random to validate and test on.

    Source: Philbin et al., "Object Retrieval with Large Vocabularies and Fast Spatial Matching", CVPR 2007;
    https://www.robots.ox.ac.uk/~vgg/data/oxbuildings. The page counts 5,062 images, the archive has 5,063.

    Layout: `oxbuild_images/`, unpacked from `oxbuild_images.tgz` (or `oxbuild_images-v1.tgz`) by
    `tar -xzf oxbuild_images.tgz -C data/oxford/oxbuild_images`. Files of the archive that are truncated images are named and
    left out (`on_bad_file`). Other folders are read as by `Folder`.

    Split: there is no official one. DeepGIN tests on 523 images and does not publish which, so as many are chosen by `seed`.
    """

    expected_layout: ClassVar[str] = (
        "oxbuild_images/, unpacked from oxbuild_images.tgz of Oxford Buildings (https://www.robots.ox.ac.uk/~vgg/data/oxbuildings)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Read from `data/oxford`."""
        return DatasetDefaults(root="data/oxford")

    def splits(self) -> Splits:
        """See the class."""
        root = root_or_archive(self)
        files = find_images(root, FOLDERS, ARCHIVES, whole_archive=True, complete_counts=IMAGES)
        if not len(files):
            return fallback_splits(root, self.seed, "no oxbuild_images")
        train, test = random_parts(files, (IMAGES[0] - TEST, TEST), self.seed)
        count = count_note(len(files), IMAGES[len(files) == IMAGES[1]])
        return Splits(train, test, test, f"{count}, {len(test):,} of them drawn by seed {self.seed}, test is val")
