"""Split images into train, val and test: by sub-folders or at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn

from lit_inpaint.data.image_source import ImageSource
from lit_inpaint.data.list_image_files import list_images, list_split_folders
from lit_inpaint.data.rng import RngStream, generator


@dataclass(frozen=True)
class Splits:
    """The images of each split, and how they were split.

    Attributes:
        train: images to train on.
        val: images to validate on during training.
        test: images for the final table; may be the same as `val`.
        note: how the images were split, one line for messages.
        fallback: why this is not the data set's own split of its own images; empty where it is.
    """

    train: ImageSource
    val: ImageSource
    test: ImageSource
    note: str
    fallback: str = ""


def folder_splits(root: Path, seed: int) -> Splits:
    """Split any folder: by its `train`, `val` and `test` sub-folders if one of them exists, else all images at random."""
    train, val, test = (root / name for name in ("train", "val", "test"))
    if train.is_dir() or val.is_dir() or test.is_dir():
        return fill_missing_splits(*list_split_folders(train, val, test), seed)
    return random_split(list_images(root), seed)


def fill_missing_splits(train: ImageSource, val: ImageSource, test: ImageSource, seed: int) -> Splits:
    """Use val as test or test as val if one is empty; split train at random if both are."""
    if not len(val) and not len(test):
        return random_split(train, seed)
    note = "val is test" if not len(val) else "test is val" if not len(test) else "train, val and test folders"
    return Splits(train, val if len(val) else test, test if len(test) else val, note)


def random_split(images: ImageSource, seed: int, percent: tuple[int, int, int] = (90, 5, 5)) -> Splits:
    """Split images at random by the seed. Of fewer than 20 images, val and test are the same.

    Args:
        images: all images.
        seed: seed of the split.
        percent: sizes of train, val and test. Val and test are rounded and have at least one image; train has the rest.
    """
    count = len(images)
    if count == 1:
        rank_zero_warn(
            f"{images.location(0)} is the only image: it is trained on and validated on, so its scores mean nothing",
            stacklevel=2,
        )
        return Splits(images, images, images, "one image, used for everything")
    order = torch.randperm(count, generator=generator(seed, RngStream.SPLIT)).numpy()
    val, test = (max(1, round(count * part / 100)) for part in percent[1:])

    def pick(start: int, stop: int) -> ImageSource:
        return images.take(np.sort(order[start:stop]))

    if count < 20:
        held_out = pick(0, val)
        return Splits(pick(val, count), held_out, held_out, f"random split, seed {seed}, test is val")
    note = f"random split {percent[0]}:{percent[1]}:{percent[2]}, seed {seed}"
    return Splits(pick(val + test, count), pick(0, val), pick(val, val + test), note)


def random_subset(images: ImageSource, max_images: int | None, seed: int) -> ImageSource:
    """Choose at most `max_images` images at random by the seed and keep their order; None keeps all."""
    if max_images is None or max_images >= len(images):
        return images
    chosen = torch.randperm(len(images), generator=generator(seed, RngStream.SUBSET))[:max_images]
    return images.take(np.sort(chosen.numpy()))
