"""Oxford Buildings, photographs of Oxford landmarks (Philbin et al., "Object Retrieval with Large Vocabularies", CVPR 2007).

From https://www.robots.ox.ac.uk/~vgg/data/oxbuildings: `oxbuild_images.tgz` (or `oxbuild_images-v1.tgz`), which has to be
unpacked: `tar -xzf oxbuild_images.tgz -C data/oxford/oxbuild_images`. The page counts 5,062 images, the archive has 5,063.
"""

from __future__ import annotations

from typing import ClassVar

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import all_images, counted, drawn, fallback_splits, has_parts, images_at, place_of
from lit_inpaint.data.splits import Splits

IMAGES = (5_062, 5_063)
TEST = 523
"""As many as DeepGIN (section 6.2) drew to test on."""
FOLDERS = ("oxbuild_images", "oxbuild_images-v1", "jpg", "oxford5k/jpg")
ARCHIVES = ("oxbuild_images", "oxbuild_images-v1")


class Oxford(InpaintingData):
    """Oxford Buildings, of which 523 images are drawn by `seed` to validate and test on, as many as DeepGIN tests on.

    There is no official split, and which 523 DeepGIN drew is not published. From any other folder of images it takes what
    `Folder` would. Files of the archive that are no whole pictures are named and left out (`on_bad_file`).
    """

    expected_layout: ClassVar[str] = (
        "oxbuild_images/, unpacked from oxbuild_images.tgz of Oxford Buildings (https://www.robots.ox.ac.uk/~vgg/data/oxbuildings)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Its usual place."""
        return DatasetDefaults(root="data/oxford")

    def splits(self) -> Splits:
        """See the class."""
        place = place_of(self)
        files = images_at(place, FOLDERS, ARCHIVES, whole=True)
        if not len(files) and not has_parts(place) and len(whole := all_images(place)) in IMAGES:
            files = whole
        if not len(files):
            return fallback_splits(place, self.seed, "no oxbuild_images")
        train, test = drawn(files, (IMAGES[0] - TEST, TEST), self.seed)
        count = counted(len(files), IMAGES[len(files) == IMAGES[1]])
        return Splits(train, test, test, f"{count}, {len(test):,} of them drawn by seed {self.seed}, test is val")
