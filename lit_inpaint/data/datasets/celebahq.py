"""CelebA-HQ: aligned faces of high resolution, in the splits that papers use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.celeba import split_of_numbers
from lit_inpaint.data.datasets.folder_layouts import (
    abbreviate,
    count_note,
    fallback_splits,
    file_numbers,
    find_images,
    find_text,
    random_parts,
    root_or_archive,
)
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.splits import Splits
from lit_inpaint.data.train_mix import TrainMix
from lit_inpaint.data.transforms import RandomResizedCrop, Transform
from lit_inpaint.data.unreadable_images import OnBadFile
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource

SplitName = Literal["27000-3000", "28000-2000", "26000-2000-2000", "24183-2993-2824", "24000-3176-2824"]

TEST_IMAGES: Mapping[SplitName, Literal["random", "listed", "official"]] = {
    "27000-3000": "random",
    "28000-2000": "listed",
    "26000-2000-2000": "listed",
    "24183-2993-2824": "official",
    "24000-3176-2824": "official",
}
"""How the test images of a split are chosen. The other images are split at random, except in CelebA's own split."""
OFFICIAL: SplitName = "24183-2993-2824"
IMAGES = 30_000
FOLDERS = (
    "CelebA-HQ-img",
    "CelebAMask-HQ/CelebA-HQ-img",
    "data1024x1024",
    "data512x512",
    "data256x256",
    "celeba_hq_1024",
    "celeba_hq_512",
    "celeba_hq_256",
)
ARCHIVES = (
    "CelebAMask-HQ",
    "data1024x1024",
    "data512x512",
    "data256x256",
    "celeba_hq_256",
    "celeba-hq-resized-256x256",
    "archive",
)
MAPPINGS = ("CelebA-HQ-to-CelebA-mapping.txt", "CelebAMask-HQ/CelebA-HQ-to-CelebA-mapping.txt", "image_list.txt")
TEST_LISTS = ("val_shuffled.flist", "fetch_data/val_shuffled.flist")


class CelebAHQ(InpaintingData):
    """CelebA-HQ: 30,000 faces of 1024x1024 pixels, in one of the splits that papers use.

    Source: Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR 2018. The images
    are distributed as CelebAMask-HQ, https://github.com/switchablenorms/CelebAMask-HQ.

    Layout: `CelebA-HQ-img/` with `0.jpg` to `29999.jpg`, and `CelebA-HQ-to-CelebA-mapping.txt`, unpacked or in
    `CelebAMask-HQ.zip`. Or resized copies: `data256x256.zip` (`00001.jpg` to `30000.jpg`), `celeba_hq_256/`, or any folder with
    all 30,000 images. Images are identified by the number at the end of the file name; copies that count from 1 to 30000 are
    shifted by one. Other folders are read as by `Folder`.

    Splits are named by their sizes: training, (validation,) test. Of two sizes, the second is both validation and test. For an
    incomplete copy, random parts are scaled in proportion.

    - `27000-3000`: PEPSI, DeepGIN and many others. Which images these were is not published, so they are chosen by `seed`.
    - `28000-2000`: DeepFill and others, by a list of the 2,000, `val_shuffled.flist` (in LaMa's public code). The list is used
      if it is in `root`; otherwise they are chosen by `seed`.
    - `26000-2000-2000`: LaMa: the same 2,000 to test on, and 2,000 random others to validate on.
    - `24183-2993-2824`: CelebA's official split, mapped by `CelebA-HQ-to-CelebA-mapping.txt` (or `image_list.txt` of the first
      release). The only one in which, as in CelebA, no person is in two splits.
    - `24000-3176-2824`: pixel2style2pixel: the official 2,824 to test on, the others at random.

    Args:
        split: which images to train, validate and test on. All other arguments: see `InpaintingData`.
    """

    expected_layout: ClassVar[str] = (
        "CelebA-HQ-img/ or CelebAMask-HQ.zip of CelebAMask-HQ (https://github.com/switchablenorms/CelebAMask-HQ), "
        "or any copy of the 30,000 images"
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
        split: SplitName = "27000-3000",
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
        self.split: SplitName = split

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Train on whole faces."""
        return DatasetDefaults(root="data/celebahq", train_transform=RandomResizedCrop(scale=(1.0, 1.0)))

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: the split needs CelebA's numbers and no file has them, or it needs the numbers in the file names and
                these are not unique.
        """
        root = root_or_archive(self)
        files = find_images(root, FOLDERS, ARCHIVES, complete_counts=(IMAGES,))
        if not len(files):
            reason = f"no CelebA-HQ-img or other copy of all {IMAGES:,} images, so not the split {self.split}"
            return fallback_splits(root, self.seed, reason)
        # Sorted by number, 2.jpg before 10.jpg, so that the random split is the same for every copy.
        files = files.take(np.argsort(file_numbers(files), kind="stable"))
        sizes = [int(size) for size in self.split.split("-")]
        parts, rule = self._fixed_parts(root, files)
        if self.split == OFFICIAL:
            train, val, test = (files.take(np.flatnonzero(parts == part)) for part in range(3))
        elif (parts == 2).any():
            test = files.take(np.flatnonzero(parts == 2))
            train, val = (*random_parts(files.take(np.flatnonzero(parts != 2)), sizes[:-1], self.seed), test)[:2]
        else:
            train, val, test = [*(split := random_parts(files, sizes, self.seed)), split[-1]][:3]
        return Splits(train, val, test, f"split {self.split}, {count_note(len(files), IMAGES)}, {rule}")

    def _fixed_parts(self, root: Path, files: ImageFiles) -> tuple[Indices, str]:
        """Assign the files that are not split at random.

        Returns:
            (N,) 0 (train), 1 (val) or 2 (test) for each file, -1 where it is split at random; and a note on the rule.
        """
        by_seed = f"drawn by seed {self.seed}"
        if TEST_IMAGES[self.split] == "random":
            return np.full(len(files), -1), by_seed
        if TEST_IMAGES[self.split] == "listed":
            if (text := find_text(root, TEST_LISTS)) is None:
                return np.full(len(files), -1), f"{by_seed}, as there is no {TEST_LISTS[0]}"
            test_numbers = [int(number) for number in re.findall(r"(\d+)\.\w+\s*$", text, flags=re.MULTILINE)]
            parts = np.where(np.isin(self._image_numbers(files), test_numbers), 2, -1)
            return parts, f"{(parts == 2).sum():,} test images listed in {TEST_LISTS[0]}, the others {by_seed}"
        if (mapping := find_text(root, MAPPINGS, ARCHIVES)) is None:
            raise UserError(
                f"CelebAHQ split {self.split} needs {MAPPINGS[0]} (of CelebAMask-HQ) in {root}; or take another: "
                "--data.split 27000-3000"
            )
        original = dict(re.findall(r"^\s*(\d+)\s+\d+\s+(\d+)\.jpg", mapping, flags=re.MULTILINE))
        celeba_numbers = [int(original.get(str(number), -1)) for number in self._image_numbers(files).tolist()]
        parts = split_of_numbers(np.array(celeba_numbers, np.int64))
        if self.split == OFFICIAL:
            return parts, "CelebA's official split"
        return np.where(parts == 2, 2, -1), f"CelebA's official test images, the others {by_seed}"

    def _image_numbers(self, files: ImageFiles) -> Indices:
        """Return (N,) the images' numbers, starting at 0."""
        numbers = file_numbers(files)
        values, counts = np.unique(numbers, return_counts=True)
        ambiguous = np.isin(numbers, values[(counts > 1) | (values < 0)])
        if ambiguous.any():
            examples = [files.location(int(index)) for index in np.flatnonzero(ambiguous)]
            raise UserError(
                f"CelebAHQ split {self.split} goes by the numbers in the files' names, which are missing or the same in "
                f"{abbreviate(examples)}; keep one copy of CelebA-HQ in the folder"
            )
        return numbers - 1 if IMAGES in values and 0 not in values else numbers
