"""Which file belongs to which split: the plain rules that several data sets use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_warn

from lit_inpaint.data.reading import images_in
from lit_inpaint.data.seeds import Stream, generator

Files = tuple[Path, ...]


@dataclass(frozen=True)
class Lists:
    """Image files by split, and how they were told apart.

    Attributes:
        train: files to train on.
        val: files to validate on while training.
        test: files for the final table; may be those of `val`.
        note: one line for people.
    """

    train: Files
    val: Files
    test: Files
    note: str


def folder_lists(root: Path, seed: int) -> Lists:
    """The rule for any folder: `train`, `val` and `test` sub-folders where they exist, else a drawn split of all images."""
    train, val, test = (root / name for name in ("train", "val", "test"))
    if train.is_dir() or val.is_dir() or test.is_dir():
        return from_folders(images_in(train), images_in(val), images_in(test), seed)
    return split(images_in(root), seed)


def from_folders(train: Files, val: Files, test: Files, seed: int) -> Lists:
    """Splits that stand in folders of their own; val and test stand in for each other, and without both train is split."""
    if not val and not test:
        return split(train, seed)
    note = "val is test" if not val else "test is val" if not test else "train, val and test folders"
    return Lists(train, val or test, test or val, note)


def split(files: Files, seed: int) -> Lists:
    """About 90:5:5, drawn from the seed; below 20 images val and test are one and the same image."""
    if len(files) == 1:
        rank_zero_warn(
            f"{files[0]} is the only image: it is trained on and validated on, so its scores mean nothing", stacklevel=2
        )
        return Lists(files, files, files, "one image, used for everything")
    held = max(1, round(len(files) / 20))
    order = torch.randperm(len(files), generator=generator(seed, Stream.SPLIT)).tolist()
    pick = [tuple(files[i] for i in sorted(part)) for part in (order[2 * held :], order[:held], order[held : 2 * held])]
    if len(files) < 20:
        return Lists(tuple(sorted((*pick[0], *pick[2]))), pick[1], pick[1], f"drawn split, seed {seed}, test is val")
    return Lists(pick[0], pick[1], pick[2], f"drawn split 90:5:5, seed {seed}")


def choose(files: Files, most: int | None, seed: int) -> Files:
    """At most `most` of the files, drawn from the seed, in their order; None takes all."""
    if most is None or most >= len(files):
        return files
    chosen = torch.randperm(len(files), generator=generator(seed, Stream.CHOICE))[:most]
    return tuple(files[i] for i in sorted(chosen.tolist()))
