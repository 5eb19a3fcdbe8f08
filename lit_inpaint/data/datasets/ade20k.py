"""ADE20K: scenes of many sizes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import (
    abbreviate,
    count_note,
    fallback_splits,
    find_images,
    random_parts,
    root_or_archive,
)
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import Splits, fill_missing_splits
from lit_inpaint.data.train_mix import TrainMix
from lit_inpaint.data.transforms import Transform
from lit_inpaint.data.unreadable_images import OnBadFile
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource
from lit_inpaint.storage.text_file import read_text_file
from lit_inpaint.storage.user_path import user_path

FOLDERS = ("ADEChallengeData2016/images", "ADE20K_2016_07_26/images", "ADE20K_2021_17_01/images/ADE", "images/ADE", "images")
ARCHIVES = ("ADEChallengeData2016", "ADE20K_2016_07_26", "ADE20K_2021_17_01")
TRAIN = (20_210, 25_574)
"""Number of training images in the releases of 2016 and 2021."""
VAL = 2_000
TEST = 3_352


class ADE20K(InpaintingData):
    """ADE20K: scenes of many sizes; 20,210 images to train, 2,000 to validate, 3,352 to test.

    Source: Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017; http://sceneparsing.csail.mit.edu. The full releases
    are at https://ade20k.csail.mit.edu: that of 2016 has the same images, that of 2021 has 25,574 to train.

    Layout: `ADEChallengeData2016/` or `ADEChallengeData2016.zip`, and for testing `release_test/` or `release_test.zip`; or a
    full release, without the label images beside the photographs. Other folders are read as by `Folder`.

    Split: the official one. Without `release_test`, the validation images are the test images.

    Args:
        subset: train on a subset of the training images: a text file with one name per line (`ADE_train_00000001`; suffixes and
            folders are ignored), or the number of images to choose by `seed`. The AIM 2020 challenge on extreme inpainting, and
            DeepGIN with it, trained on 10,330 of them; that list is not public. All other arguments: see `InpaintingData`.

    Raises:
        UserError: `subset` is a number below 1.
    """

    expected_layout: ClassVar[str] = (
        "ADEChallengeData2016/ or ADEChallengeData2016.zip and, if wanted, release_test/ or release_test.zip of ADE20K "
        "(http://sceneparsing.csail.mit.edu)"
    )

    def __init__(
        self,
        root: str | None = None,
        size: int = 256,
        batch_size: int = 8,
        masks: MaskSource | list[MaskSource] | None = None,
        val_masks: list[MaskSource] | None = None,
        train_transform: Transform | None = None,
        val_transform: Transform | None = None,
        val_images: int | None = None,
        test_images: int | None = None,
        val_crops: int | None = None,
        repeat: int | None = None,
        workers: int | None = None,
        on_bad_file: OnBadFile = "skip",
        cache: bool | None = None,
        overfit_images: int | None = None,
        seed: int = 0,
        mix: TrainMix | None = None,
        subset: int | str | None = None,
    ) -> None:
        super().__init__(
            root=root,
            size=size,
            batch_size=batch_size,
            masks=masks,
            val_masks=val_masks,
            train_transform=train_transform,
            val_transform=val_transform,
            val_images=val_images,
            test_images=test_images,
            val_crops=val_crops,
            repeat=repeat,
            workers=workers,
            on_bad_file=on_bad_file,
            cache=cache,
            overfit_images=overfit_images,
            seed=seed,
            mix=mix,
        )
        if isinstance(subset, int) and subset < 1:
            raise UserError(f"data.subset is {subset}, it must be at least 1, or a list file")
        self.subset = subset

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Read from `data/ade20k`."""
        return DatasetDefaults(root="data/ade20k")

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: the list `subset` is missing or empty, or names images that do not exist.
        """
        root = root_or_archive(self)
        train, val = (
            _without_label_images(find_images(root, [f"{folder}/{part}" for folder in FOLDERS], ARCHIVES))
            for part in ("training", "validation")
        )
        test = _without_label_images(find_images(root, ("release_test/testing", "testing"), ("release_test",)))
        if not (len(train) or len(val) or len(test)):
            unused = "" if self.subset is None else " and not the subset"
            return fallback_splits(root, self.seed, f"no ADEChallengeData2016, so not the official split{unused}")
        notes = []
        if len(train):
            notes = [count_note(len(train), TRAIN[len(train) > TRAIN[0]], "training images")]
            train, subset_notes = self._select_subset(train)
            notes += subset_notes
        notes += [count_note(len(val), VAL, "validation images")] if len(val) else []
        notes += [count_note(len(test), TEST, "test images")] if len(test) else []
        splits = fill_missing_splits(train, val, test, self.seed)
        return Splits(splits.train, splits.val, splits.test, f"{splits.note}; {', '.join(notes)}")

    def _select_subset(self, train: ImageFiles) -> tuple[ImageFiles, list[str]]:
        """Return the training images in `subset`, and notes on the subset."""
        if self.subset is None:
            return train, []
        if isinstance(self.subset, int):
            if self.subset >= len(train):
                return train, []
            _, chosen = random_parts(train, (len(train) - self.subset, self.subset), self.seed)
            return chosen, [f"{self.subset:,} of them drawn by seed {self.seed}"]
        path = user_path(self.subset)
        if not path.is_file():
            raise UserError(
                f"no list of images at {path}; name a text file with --data.subset, or how many images are to be drawn"
            )
        wanted = {Path(line.strip()).stem for line in read_text_file(path).splitlines() if line.strip()}
        if not wanted:
            raise UserError(f"{path} is empty; it should have a name such as ADE_train_00000001 in each line")
        stems = [Path(name).stem for name in train.names()]
        if absent := sorted(wanted.difference(stems)):
            raise UserError(
                f"{path} names {len(absent):,} of {len(wanted):,} images that are not there to train on: {abbreviate(absent)}"
            )
        chosen = train.take(np.array([index for index, stem in enumerate(stems) if stem in wanted], np.int64))
        return chosen, [f"{len(chosen):,} of them listed in {path.name}"]


def _without_label_images(files: ImageFiles) -> ImageFiles:
    """Leave out the label images that are in the same folders in the full releases."""
    matches = (re.search(r"(?:^|/)ADE_(?:train|val|test|frame)_\w{8}\.\w+$", name) for name in files.names())
    return files.take(np.array([index for index, match in enumerate(matches) if match], np.int64))
