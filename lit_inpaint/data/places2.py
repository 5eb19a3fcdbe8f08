"""Places2, also called Places365-Standard: 1.8 million scenes (Zhou et al., "Places: A 10 Million Image Database", 2017)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from lit_inpaint.data.lists import Files, Lists, folder_lists, from_folders
from lit_inpaint.data.module import Defaults, InpaintingData
from lit_inpaint.data.reading import images_in
from lit_inpaint.data.views import RandomSquare

TRAIN = (
    "data_256_standard",
    "train_256_places365standard",
    "data_256",
    "data_large_standard",
    "data_large",
    "places365_standard/train",
)
VAL = ("val_256", "val_large", "places365_standard/val")
TEST = ("test_256", "test_large")


class Places2(InpaintingData):
    """The official folders of Places2; from any other folder of images it takes what `Folder` would.

    Folders are looked for under the names that the official archives unpack to, small images before large ones, Standard before
    Challenge. Without the test archive the validation images (36,500) are tested on, as most papers do.
    """

    content: ClassVar[str] = (
        "data_256_standard/, val_256/ and, if wanted, test_256/ of Places2 (http://places2.csail.mit.edu/download.html)"
    )

    @classmethod
    def defaults(cls, root: str | None) -> Defaults:
        """Whole scenes: squares as large as the picture allows."""
        return Defaults(root="data/places2", train_view=RandomSquare(scale=(1.0, 1.0)))

    def lists(self) -> Lists:
        """See the class."""
        root = self.folder()
        train, val, test = (_first(root, names) for names in (TRAIN, VAL, TEST))
        if not (train or val or test):
            plain = folder_lists(root, self.seed)
            return replace(plain, note=f"no official folder such as {TRAIN[0]} or {VAL[0]}, so: {plain.note}")
        return from_folders(train, val, test, self.seed)


def _first(root: Path, names: tuple[str, ...]) -> Files:
    return next((images_in(root / name) for name in names if (root / name).is_dir()), ())
