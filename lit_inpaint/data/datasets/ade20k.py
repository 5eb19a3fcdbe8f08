"""ADE20K, scenes of many sizes (Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017).

From http://sceneparsing.csail.mit.edu: `ADEChallengeData2016.zip`, as it is or unpacked, 20,210 images to train and 2,000 to
validate, and `release_test.zip` with 3,352 to test. Or the full release from https://ade20k.csail.mit.edu: that of 2016 has
the same images, that of 2021 has 25,574 to train. Label pictures beside the images are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import counted, drawn, fallback_splits, images_at, missing, place_of
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import Splits, fill_missing_splits
from lit_inpaint.data.transforms.crops import Transform
from lit_inpaint.data.unreadable_images import OnBadFile
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource

FOLDERS = ("ADEChallengeData2016/images", "ADE20K_2016_07_26/images", "ADE20K_2021_17_01/images/ADE", "images/ADE", "images")
ARCHIVES = ("ADEChallengeData2016", "ADE20K_2016_07_26", "ADE20K_2021_17_01")
TRAIN = (20_210, 25_574)
"""Training images of the releases of 2016 and 2021."""
VAL = 2_000
TEST = 3_352


class ADE20K(InpaintingData):
    """The official folders of ADE20K; from any other folder of images it takes what `Folder` would.

    Without `release_test` the validation images are tested on.

    Args:
        subset: train on these images only: a text file with a name in each line (`ADE_train_00000001`, a suffix or folders do
            not matter), or how many are drawn by `seed`. The AIM 2020 challenge on extreme inpainting, and DeepGIN with it,
            trained on 10,330 of them; that list is not public. All other arguments: see `InpaintingData`.

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
        seed: int = 0,
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
            seed=seed,
        )
        if isinstance(subset, int) and subset < 1:
            raise UserError(f"data.subset is {subset}, it must be at least 1, or a list file")
        self.subset = subset

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Its usual place."""
        return DatasetDefaults(root="data/ade20k")

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: the list `subset` is missing, empty, or names images that are not there.
        """
        place = place_of(self)
        train, val = (
            _scenes(images_at(place, [f"{folder}/{part}" for folder in FOLDERS], ARCHIVES))
            for part in ("training", "validation")
        )
        test = _scenes(images_at(place, ("release_test/testing", "testing"), ("release_test",)))
        if not (len(train) or len(val) or len(test)):
            unused = "" if self.subset is None else " and not the subset"
            return fallback_splits(place, self.seed, f"no ADEChallengeData2016, so not the official split{unused}")
        note = []
        if len(train):
            note = [counted(len(train), TRAIN[len(train) > TRAIN[0]], "training images")]
            train, subset = self._chosen(train)
            note += subset
        note += [counted(len(val), VAL, "validation images")] if len(val) else []
        note += [counted(len(test), TEST, "test images")] if len(test) else []
        lists = fill_missing_splits(train, val, test, self.seed)
        return Splits(lists.train, lists.val, lists.test, f"{lists.note}; {', '.join(note)}")

    def _chosen(self, train: ImageFiles) -> tuple[ImageFiles, list[str]]:
        """The training images in `subset`, and a note."""
        if self.subset is None:
            return train, []
        if isinstance(self.subset, int):
            if self.subset >= len(train):
                return train, []
            _, chosen = drawn(train, (len(train) - self.subset, self.subset), self.seed)
            return chosen, [f"{self.subset:,} of them drawn by seed {self.seed}"]
        path = Path(self.subset)
        if not path.is_file():
            raise UserError(
                f"no list of images at {path}; name a text file with --data.subset, or how many images are to be drawn"
            )
        wanted = {Path(line.strip()).stem for line in path.read_text(errors="surrogateescape").splitlines() if line.strip()}
        if not wanted:
            raise UserError(f"{path} is empty; it should have a name such as ADE_train_00000001 in each line")
        stems = [Path(name).stem for name in train.names()]
        if absent := sorted(wanted.difference(stems)):
            raise UserError(
                f"{path} names {len(absent):,} of {len(wanted):,} images that are not there to train on: {missing(absent)}"
            )
        chosen = train.take(np.array([index for index, stem in enumerate(stems) if stem in wanted], np.int64))
        return chosen, [f"{len(chosen):,} of them as {path.name} says"]


def _scenes(files: ImageFiles) -> ImageFiles:
    """Without the label pictures that lie among them in the full releases."""
    named = (re.search(r"(?:^|/)ADE_(?:train|val|test|frame)_\w{8}\.\w+$", name) for name in files.names())
    return files.take(np.array([index for index, match in enumerate(named) if match], np.int64))
