"""Which file belongs to which split: the plain rules that several data sets use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn

from lit_inpaint.data.image_source import ImageSource
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.rng import RngStream, generator


@dataclass(frozen=True)
class Splits:
    """Pictures by split, and how they were told apart.

    Attributes:
        train: to train on.
        val: to validate on while training.
        test: for the final table; may be those of `val`.
        note: one line for people.
    """

    train: ImageSource
    val: ImageSource
    test: ImageSource
    note: str


def folder_splits(root: Path, seed: int) -> Splits:
    """The rule for any folder: `train`, `val` and `test` sub-folders where they exist, else a drawn split of all images."""
    train, val, test = (root / name for name in ("train", "val", "test"))
    if train.is_dir() or val.is_dir() or test.is_dir():
        return fill_missing_splits(list_images(train), list_images(val), list_images(test), seed)
    return random_split(list_images(root), seed)


def fill_missing_splits(train: ImageSource, val: ImageSource, test: ImageSource, seed: int) -> Splits:
    """Splits that stand in folders of their own; val and test stand in for each other, and without both train is split."""
    if not len(val) and not len(test):
        return random_split(train, seed)
    note = "val is test" if not len(val) else "test is val" if not len(test) else "train, val and test folders"
    return Splits(train, val if len(val) else test, test if len(test) else val, note)


def random_split(pictures: ImageSource, seed: int, shares: tuple[int, int, int] = (90, 5, 5)) -> Splits:
    """A split drawn from the seed; below 20 pictures val and test are one and the same.

    Args:
        pictures: all there are.
        seed: of the draw.
        shares: train, val and test in percent. Val and test are rounded and hold at least one picture, train gets the rest.
    """
    count = len(pictures)
    if count == 1:
        rank_zero_warn(
            f"{pictures.location(0)} is the only image: it is trained on and validated on, so its scores mean nothing",
            stacklevel=2,
        )
        return Splits(pictures, pictures, pictures, "one image, used for everything")
    order = torch.randperm(count, generator=generator(seed, RngStream.SPLIT)).numpy()
    val, test = (max(1, round(count * share / 100)) for share in shares[1:])

    def pick(start: int, stop: int) -> ImageSource:
        return pictures.take(np.sort(order[start:stop]))

    if count < 20:
        held = pick(0, val)
        return Splits(pick(val, count), held, held, f"drawn split, seed {seed}, test is val")
    note = f"drawn split {shares[0]}:{shares[1]}:{shares[2]}, seed {seed}"
    return Splits(pick(val + test, count), pick(0, val), pick(val, val + test), note)


def random_subset(pictures: ImageSource, most: int | None, seed: int) -> ImageSource:
    """At most `most` of the pictures, drawn from the seed, in their order; None takes all."""
    if most is None or most >= len(pictures):
        return pictures
    chosen = torch.randperm(len(pictures), generator=generator(seed, RngStream.SUBSET))[:most]
    return pictures.take(np.sort(chosen.numpy()))
