"""CelebA-HQ, faces of 1024x1024 pixels (Karras et al., "Progressive Growing of GANs", ICLR 2018): 30,000 images.

From CelebAMask-HQ (https://github.com/switchablenorms/CelebAMask-HQ): `CelebAMask-HQ.zip`, as it is or unpacked, with
`CelebA-HQ-img/0.jpg` to `29999.jpg` and `CelebA-HQ-to-CelebA-mapping.txt`. Or resized copies: `data256x256.zip` (`00001.jpg` to
`30000.jpg`), `celeba_hq_256/`, or any folder that holds all 30,000.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.celeba import parts_of
from lit_inpaint.data.datasets.folder_layouts import (
    all_images,
    counted,
    drawn,
    fallback_splits,
    has_parts,
    images_at,
    missing,
    numbers_of,
    place_of,
    text_at,
)
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.splits import Splits
from lit_inpaint.data.transforms.crops import RandomResizedCrop, Transform
from lit_inpaint.data.unreadable_images import OnBadFile
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource

Split = Literal["27000-3000", "28000-2000", "26000-2000-2000", "24183-2993-2824", "24000-3176-2824"]

TESTED_ON: Mapping[Split, Literal["drawn", "listed", "official"]] = {
    "27000-3000": "drawn",
    "28000-2000": "listed",
    "26000-2000-2000": "listed",
    "24183-2993-2824": "official",
    "24000-3176-2824": "official",
}
"""What says which images a split tests on. The others are drawn, except in CelebA's own split."""
OFFICIAL: Split = "24183-2993-2824"
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
HELD_OUT = ("val_shuffled.flist", "fetch_data/val_shuffled.flist")


class CelebAHQ(InpaintingData):
    """CelebA-HQ in one of the splits that papers use; from any other folder of images it takes what `Folder` would.

    A split is called after its sizes: training, (validation,) test. Of two sizes the second is both. Of a copy that is not
    whole, what is drawn is as large in proportion.

    - `27000-3000`: PEPSI, DeepGIN and many others. Which images these were is not published, so they are drawn by `seed`.
    - `28000-2000`: DeepFill and others, by a list of the 2,000, `val_shuffled.flist` (LaMa's public code has it).
      It is used where it lies in `root`; else they are drawn.
    - `26000-2000-2000`: LaMa: the same 2,000 to test on, and 2,000 of the others, drawn, to validate on.
    - `24183-2993-2824`: CelebA's official split, carried over by `CelebA-HQ-to-CelebA-mapping.txt` (or `image_list.txt` of the
      first release). The only one in which, as in CelebA, nobody is on two sides.
    - `24000-3176-2824`: pixel2style2pixel: the official 2,824 to test on, the others drawn.

    Images are told apart by the number at the end of the file's name; copies that count from 1 to 30000 are taken one down.

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
        seed: int = 0,
        split: Split = "27000-3000",
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
        self.split: Split = split

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Whole faces."""
        return DatasetDefaults(root="data/celebahq", train_transform=RandomResizedCrop(scale=(1.0, 1.0)))

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: the split goes by CelebA's numbers and no file tells them, or by the files' numbers and these are not
                unique.
        """
        place = place_of(self)
        files = images_at(place, FOLDERS, ARCHIVES)
        if not len(files) and not has_parts(place) and len(whole := all_images(place)) == IMAGES:
            files = whole
        if not len(files):
            why = f"no CelebA-HQ-img or other copy of all {IMAGES:,} images, so not the split {self.split}"
            return fallback_splits(place, self.seed, why)
        files = files.take(np.argsort(numbers_of(files), kind="stable"))  # 2.jpg before 10.jpg: every copy is drawn from alike
        sizes = [int(size) for size in self.split.split("-")]
        parts, rule = self._known(place, files)
        if self.split == OFFICIAL:
            train, val, test = (files.take(np.flatnonzero(parts == part)) for part in range(3))
        elif (parts == 2).any():
            test = files.take(np.flatnonzero(parts == 2))
            train, val = (*drawn(files.take(np.flatnonzero(parts != 2)), sizes[:-1], self.seed), test)[:2]
        else:
            train, val, test = [*(split := drawn(files, sizes, self.seed)), split[-1]][:3]
        return Splits(train, val, test, f"split {self.split}, {counted(len(files), IMAGES)}, {rule}")

    def _known(self, place: Path, files: ImageFiles) -> tuple[Indices, str]:
        """(N,) 0, 1 or 2 for files of which it is known whether they are to train, validate or test on, -1 for others; how."""
        by_seed = f"drawn by seed {self.seed}"
        if TESTED_ON[self.split] == "drawn":
            return np.full(len(files), -1), by_seed
        if TESTED_ON[self.split] == "listed":
            if (listed := text_at(place, HELD_OUT)) is None:
                return np.full(len(files), -1), f"{by_seed}, as there is no {HELD_OUT[0]}"
            held_out = [int(number) for number in re.findall(r"(\d+)\.\w+\s*$", listed, flags=re.MULTILINE)]
            known = np.where(np.isin(self._numbers(files), held_out), 2, -1)
            return known, f"{(known == 2).sum():,} tested on as {HELD_OUT[0]} says, the others {by_seed}"
        if (mapping := text_at(place, MAPPINGS, ARCHIVES)) is None:
            raise UserError(
                f"CelebAHQ split {self.split} needs {MAPPINGS[0]} (of CelebAMask-HQ) in {place}; or take another: "
                "--data.split 27000-3000"
            )
        original = dict(re.findall(r"^\s*(\d+)\s+\d+\s+(\d+)\.jpg", mapping, flags=re.MULTILINE))
        celeba = [int(original.get(str(number), -1)) for number in self._numbers(files).tolist()]
        known = parts_of(np.array(celeba, np.int64))
        if self.split == OFFICIAL:
            return known, "CelebA's official split"
        return np.where(known == 2, 2, -1), f"tested on CelebA's official part, the others {by_seed}"

    def _numbers(self, files: ImageFiles) -> Indices:
        """(N,) the files' numbers, from 0 on."""
        numbers = numbers_of(files)
        values, counts = np.unique(numbers, return_counts=True)
        shared = np.isin(numbers, values[(counts > 1) | (values < 0)])
        if shared.any():
            examples = [files.location(int(place)) for place in np.flatnonzero(shared)]
            raise UserError(
                f"CelebAHQ split {self.split} goes by the numbers in the files' names, which are missing or the same in "
                f"{missing(examples)}; keep one copy of CelebA-HQ in the folder"
            )
        return numbers - 1 if IMAGES in values and 0 not in values else numbers
