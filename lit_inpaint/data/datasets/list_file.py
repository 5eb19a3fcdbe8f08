"""Images that text files list, one path in each line: the lists that papers and their public code hand out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import ClassVar

from lightning.pytorch.utilities import rank_zero_warn

from lit_inpaint.data.datamodule import InpaintingData
from lit_inpaint.data.datasets.folder_layouts import missing
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import Splits, fill_missing_splits
from lit_inpaint.data.transforms.crops import Transform
from lit_inpaint.data.unreadable_images import OnBadFile
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource


class ListFile(InpaintingData):
    """Images in the lists `train`, `val` and `test` (such as DeepFill's `.flist` or Places2's `.txt`, without classes).

    Paths are relative to `root`, or without it to their list's folder. With a `root`, a list with the absolute paths of another
    machine can be used too: as many of their first folders are dropped as it takes for the first file to be found. Lists of
    validation and test images stand in for each other; without both, the training list is split 90:5:5 by `seed`.

    Args:
        root: folder of the images. None: each list's own.
        train: text file of the training images.
        val: of the validation images.
        test: of the test images. All other arguments: see `InpaintingData`.
    """

    expected_layout: ClassVar[str] = "the images that the lists name (--data.train FILE --data.val FILE --data.test FILE)"

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
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
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
        self.train = train
        self.val = val
        self.test = test

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: no list is named, or one is missing, empty, or names files that are not there.
        """
        named = (self.train, self.val, self.test)
        if not any(named):
            raise UserError(
                "ListFile needs a text file of image paths: --data.train FILE, and --data.val or --data.test for others"
            )
        if self.root is not None:
            self.root_folder()
        train, val, test = (self._listed_in(Path(name)) if name else ImageFiles.from_paths(()) for name in named)
        for held_out in (val, test):
            if both := {str(path) for path in train}.intersection(str(path) for path in held_out):
                shown = missing(sorted(both))
                rank_zero_warn(f"{len(both):,} images are listed both to train on and to evaluate on: {shown}", stacklevel=2)
        lists = fill_missing_splits(train, val, test, self.seed)
        shown = ", ".join(Path(name).name for name in named if name)
        return Splits(lists.train, lists.val, lists.test, f"{lists.note}; from {shown}")

    def _listed_in(self, path: Path) -> ImageFiles:
        """The files that one list names."""
        if not path.is_file():
            raise UserError(f"no list of images at {path}; name a text file with one path in each line")
        lines = [line.strip() for line in path.read_text(errors="surrogateescape").splitlines()]
        lines = list(dict.fromkeys(line for line in lines if line))
        if not lines:
            raise UserError(f"{path} is empty; it should have the path of an image in each line")
        # Absolute, as lines may be: all have one folder in common, and a file is the same one in every list.
        top = (path.parent if self.root is None else Path(self.root)).absolute()
        if not (top / lines[0]).is_file() and all(re.search(r"\S\s+\d+$", line) for line in lines):
            lines = [line.rsplit(maxsplit=1)[0] for line in lines]  # the number of its class stands behind each path
        if self.root is not None:
            dropped = _dropped(top, lines[0])
            lines = [line.split("/", dropped)[-1] for line in lines] if dropped else lines
        found = [os.path.join(top, line) for line in lines]  # noqa: PTH118 (many paths; an absolute one stays)
        if absent := [name for name in found if not os.path.isfile(name)]:  # noqa: PTH113
            elsewhere = self.root is None and all(line.startswith("/") for line in lines)
            mend = "the paths are those of another machine: name" if elsewhere else "mend the list, or name"
            raise UserError(
                f"{path} names {len(absent):,} of {len(found):,} files that are not there: {missing(absent)}; {mend} "
                "the folder that they are below: --data.root DIR"
            )
        return ImageFiles.from_paths(map(Path, found))


def _dropped(top: Path, name: str) -> int:
    """How many first parts of `name` to leave out so that it is a file below `top`; 0 where it is as it is, or never."""
    if not name.startswith("/") or Path(name).is_file():
        return 0
    parts = name.split("/")
    return next((count for count in range(1, len(parts)) if top.joinpath(*parts[count:]).is_file()), 0)
