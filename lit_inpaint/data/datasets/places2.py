"""Places2, also called Places365: scenes."""

from __future__ import annotations

from typing import ClassVar

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import count_note, fallback_splits, find_images, root_or_archive
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import Splits, fill_missing_splits
from lit_inpaint.data.transforms import RandomResizedCrop

STANDARD = ("data_256_standard", "train_256_places365standard", "places365_standard/train", "data_large_standard")
CHALLENGE = ("data_256", "data_large")
"""Folders of Places365-Challenge; some copies of the Standard archives unpack to these names too."""
TRAIN = (*STANDARD, *CHALLENGE)
VAL = ("val_256", "places365_standard/val", "val_large")
TEST = ("test_256", "test_large")
TRAIN_ARCHIVES = (
    "train_256_places365standard",
    "places365standard_easyformat",
    "train_large_places365standard",
    "train_256_places365challenge",
    "train_large_places365challenge",
    *TRAIN,
)
VAL_ARCHIVES = ("val_256", "places365standard_easyformat", "val_large")
IMAGES = (1_803_460, 36_500, 328_500)
"""Number of images to train, validate and test in Places365-Standard."""
CHALLENGE_IMAGES = 8_026_628
CLASSES = 365


class Places2(InpaintingData):
    """Places2 (Places365): scenes of 365 classes; 1,803,460 images to train, 36,500 to validate, 328,500 to test.

    Source: Zhou et al., "Places: A 10 Million Image Database for Scene Recognition", PAMI 2018;
    http://places2.csail.mit.edu/download.html. Places365-Challenge has 8,026,628 images to train.

    Layout: the official `.tar` archives, or the folders they unpack to, such as `data_256_standard/`, `val_256/` and
    `test_256/`. Small images (256x256) are used before large ones, Standard before Challenge. Other folders are read as by
    `Folder`.

    Split: the official one. Without the test images, the validation images are the test images, as in most papers.
    """

    expected_layout: ClassVar[str] = (
        "data_256_standard/, val_256/ and, if wanted, test_256/ of Places2, or their .tar archives "
        "(http://places2.csail.mit.edu/download.html)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Train on whole scenes: squares as large as the image allows."""
        return DatasetDefaults(root="data/places2", train_transform=RandomResizedCrop(scale=(1.0, 1.0)))

    def splits(self) -> Splits:
        """See the class."""
        root = root_or_archive(self)
        train = find_images(root, TRAIN, TRAIN_ARCHIVES, whole_archive=True)
        val = find_images(root, VAL, VAL_ARCHIVES, whole_archive=True)
        test = find_images(root, TEST, TEST, whole_archive=True)
        if not (len(train) or len(val) or len(test)):
            return fallback_splits(root, self.seed, f"no official folder or archive such as {TRAIN[0]} or {VAL[0]}, so")
        notes = []
        if len(train):
            official = CHALLENGE_IMAGES if len(train) > IMAGES[0] else IMAGES[0]
            notes = [count_note(_num_classes(train), CLASSES, "classes"), count_note(len(train), official, "training images")]
        notes += [count_note(len(val), IMAGES[1], "validation images")] if len(val) else []
        notes += [count_note(len(test), IMAGES[2], "test images")] if len(test) else []
        splits = fill_missing_splits(train, val, test, self.seed)
        return Splits(splits.train, splits.val, splits.test, f"{splits.note}; {', '.join(notes)}")


def _num_classes(train: ImageFiles) -> int:
    """Count the folders with images: each class has one, some inside the folder of a more general class."""
    return len({name.rpartition("/")[0] for name in train.names()})
