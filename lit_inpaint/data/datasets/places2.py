"""Places2, also called Places365: scenes (Zhou et al., "Places: A 10 Million Image Database for Scene Recognition", PAMI 2018).

From http://places2.csail.mit.edu/download.html, small (256x256) or large images, each archive as it is or unpacked. Standard:
1,803,460 images to train, of 365 classes, 36,500 to validate, 328,500 to test. Challenge: 8,026,628 to train.
"""

from __future__ import annotations

from typing import ClassVar

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import counted, fallback_splits, images_at, place_of
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import Splits, fill_missing_splits
from lit_inpaint.data.transforms.crops import RandomResizedCrop

STANDARD = ("data_256_standard", "train_256_places365standard", "places365_standard/train", "data_large_standard")
EITHER = ("data_256", "data_large")  # the challenge's; some copies of the standard archives unpack to these names too
TRAIN = (*STANDARD, *EITHER)
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
CHALLENGE = 8_026_628
CLASSES = 365


class Places2(InpaintingData):
    """The official folders or tar archives of Places2; from any other folder of images it takes what `Folder` would.

    They are looked for under the names of the official archives and of what these unpack to, small images before large ones,
    Standard before Challenge. Without the test archive the validation images (36,500) are tested on, as most papers do.
    """

    expected_layout: ClassVar[str] = (
        "data_256_standard/, val_256/ and, if wanted, test_256/ of Places2, or their .tar archives "
        "(http://places2.csail.mit.edu/download.html)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Whole scenes: squares as large as the picture allows."""
        return DatasetDefaults(root="data/places2", train_transform=RandomResizedCrop(scale=(1.0, 1.0)))

    def splits(self) -> Splits:
        """See the class."""
        place = place_of(self)
        train = images_at(place, TRAIN, TRAIN_ARCHIVES, whole=True)
        val = images_at(place, VAL, VAL_ARCHIVES, whole=True)
        test = images_at(place, TEST, TEST, whole=True)
        if not (len(train) or len(val) or len(test)):
            return fallback_splits(place, self.seed, f"no official folder or archive such as {TRAIN[0]} or {VAL[0]}, so")
        official = CHALLENGE if len(train) > IMAGES[0] else IMAGES[0]
        note = (
            [f"{counted(_classes(train), CLASSES, 'classes')}, {counted(len(train), official, 'training images')}"]
            if len(train)
            else []
        )
        note += [counted(len(val), IMAGES[1], "validation images")] if len(val) else []
        note += [counted(len(test), IMAGES[2], "test images")] if len(test) else []
        lists = fill_missing_splits(train, val, test, self.seed)
        return Splits(lists.train, lists.val, lists.test, f"{lists.note}; {', '.join(note)}")


def _classes(train: ImageFiles) -> int:
    """How many folders hold images: each class has one, some of them within that of a more general class."""
    return len({name.rpartition("/")[0] for name in train.names()})
