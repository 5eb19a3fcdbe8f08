"""Images listed in text files, such as the lists that papers publish with their code."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import ClassVar

from lightning.pytorch.utilities import rank_zero_warn

from lit_inpaint.data.datamodule import InpaintingData
from lit_inpaint.data.datasets.folder_layouts import abbreviate
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import Splits, fill_missing_splits
from lit_inpaint.data.train_mix import TrainMix
from lit_inpaint.data.transforms import Transform
from lit_inpaint.data.unreadable_images import OnBadFile
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource
from lit_inpaint.storage.text_file import latin1_name, read_text_file
from lit_inpaint.storage.user_path import user_path


class ListFile(InpaintingData):
    """Images listed in text files with one path per line (such as DeepFill's `.flist`, or Places2's `.txt` lists).

    Paths are relative to `root`, or without it to the folder of their list; class numbers after the paths are ignored. Lists
    are in UTF-8, in UTF-16 with a byte order mark, or in Latin-1, and may have been written on Windows (`G:/faces/1.png`, also
    with backslashes). With a `root`, a list of absolute paths on another machine can be used: as many leading folders are
    dropped as needed to find the first file.

    Splits: the lists `train`, `val` and `test`. Val is used as test, or test as val, if one is missing. Without both, the
    training list is split 90:5:5 by the paths and `seed`.

    Args:
        root: folder of the images. None: the folder of each list.
        train: text file of the training images.
        val: text file of the validation images.
        test: text file of the test images. All other arguments: see `InpaintingData`.
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
        overfit_images: int | None = None,
        seed: int = 0,
        mix: TrainMix | None = None,
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
            overfit_images=overfit_images,
            seed=seed,
            mix=mix,
        )
        self.train, self.val, self.test = (str(user_path(name)) if name else None for name in (train, val, test))

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: no list is given, or one is missing or empty, or names files that do not exist.
        """
        lists = (self.train, self.val, self.test)
        if not any(lists):
            raise UserError(
                "ListFile needs a text file of image paths: --data.train FILE, and --data.val or --data.test for others"
            )
        if self.root is not None:
            self.root_folder()
        train, val, test = (self._read_list(Path(name)) if name else ImageFiles.from_paths(()) for name in lists)
        for held_out in (val, test):
            if shared := {str(path) for path in train}.intersection(str(path) for path in held_out):
                examples = abbreviate(sorted(shared))
                rank_zero_warn(
                    f"{len(shared):,} images are listed both to train on and to evaluate on: {examples}", stacklevel=2
                )
        base = (Path(self.train).parent if self.root is None else Path(self.root)).absolute() if self.train else None
        splits = fill_missing_splits(train, val, test, self.seed, base)
        names = ", ".join(Path(name).name for name in lists if name)
        return Splits(splits.train, splits.val, splits.test, f"{splits.note}; from {names}")

    def _read_list(self, path: Path) -> ImageFiles:
        """Return the files that one list names."""
        if not path.is_file():
            raise UserError(f"no list of images at {path}; name a text file with one path in each line")
        lines = [line.strip() for line in read_text_file(path).splitlines()]
        lines = list(dict.fromkeys(line for line in lines if line))
        if not lines:
            raise UserError(f"{path} is empty; it should have the path of an image in each line")
        # Absolute, as lines may be: all paths have a common folder, and a file has the same path in every list.
        folder = (path.parent if self.root is None else Path(self.root)).absolute()
        # os.path.isfile, since Path.is_file raises for names that are too long.
        if not os.path.isfile(folder / lines[0]) and all(re.search(r"\S\s+\d+$", line) for line in lines):  # noqa: PTH113
            lines = [line.rsplit(maxsplit=1)[0] for line in lines]  # each path is followed by the number of its class
        if not os.path.isfile(folder / lines[0]) and re.match(r"[A-Za-z]:[\\/]|[^/]*\\", lines[0]):  # noqa: PTH113
            lines = [re.sub("^[A-Za-z]:/", "/", line.replace("\\", "/")) for line in lines]  # written on Windows
        if self.root is not None:
            dropped = _leading_parts_to_drop(folder, lines[0])
            lines = [line.split("/", dropped)[-1] for line in lines] if dropped else lines
        lines = [os.fspath(user_path(line)) if line.startswith("~") else line for line in lines]
        found = [_existing_name(os.path.join(folder, line)) for line in lines]  # noqa: PTH118 (many paths; absolute ones are kept)
        if absent := [name for name in found if not os.path.isfile(name)]:  # noqa: PTH113
            other_machine = self.root is None and all(line.startswith("/") for line in lines)
            fix = "the paths are those of another machine: name" if other_machine else "fix the list, or name"
            raise UserError(
                f"{path} names {len(absent):,} of {len(found):,} files that are not there: {abbreviate(absent)}; {fix} "
                "the folder that they are below: --data.root DIR"
            )
        return ImageFiles.from_paths(map(Path, found))


def _existing_name(name: str) -> str:
    """Return the name of a file in a list that is not in UTF-8: the same bytes, or else what they mean in Latin-1."""
    if name.isascii() or os.path.isfile(name):  # noqa: PTH113
        return name
    meant = latin1_name(name)
    return meant if os.path.isfile(meant) else name  # noqa: PTH113


def _leading_parts_to_drop(folder: Path, name: str) -> int:
    """Return how many leading parts of an absolute path to drop to find it below `folder`; 0 if it exists, or is not found."""
    if not name.startswith("/") or os.path.isfile(name):  # noqa: PTH113
        return 0
    parts = name.split("/")
    return next((count for count in range(1, len(parts)) if os.path.isfile(folder.joinpath(*parts[count:]))), 0)  # noqa: PTH113
