"""Split images into train, val and test: by sub-folders, by names or at random."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from lit_inpaint.data.image_source import ImageFiles, ImageSource, hash_names
from lit_inpaint.data.list_image_files import list_images, list_split_folders
from lit_inpaint.data.rng import RngStream, generator
from lit_inpaint.data.split_folders import NAMES, refuse_nested_splits, split_folders
from lit_inpaint.errors import UserError
from lit_inpaint.storage.find_images import SUFFIXES


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
    """Split any folder: by its sub-folders for train, val and test if one of them exists, else all images by their names.

    Raises:
        UserError: names of folders leave it open which are the splits; see `split_folders`.
    """
    found = split_folders(root)
    if not found:
        images = list_images(root)
        refuse_nested_splits(images.names(), root)
        return split_by_name(images, seed)
    train, val, test = (found.get(name, root / name) for name in NAMES)
    splits = fill_missing_splits(*list_split_folders(train, val, test), seed)
    content = [path for path in root.iterdir() if path not in found.values() and not path.name.startswith((".", "__"))]
    unused = sorted(f"{path.name}/" for path in content if path.is_dir())
    if images_beside := sum(path.name.lower().endswith(SUFFIXES) for path in content if path.is_file()):
        unused.append(f"{images_beside:,} image{'s' * (images_beside > 1)}")
    return replace(splits, note=f"{splits.note}; not used: {', '.join(unused)}") if unused else splits


def only_first(splits: Splits, count: int) -> Splits:
    """Return the first `count` training images as all three splits.

    Raises:
        UserError: there are fewer.
    """
    if len(splits.train) < count:
        raise UserError(f"data.overfit_images is {count}, but there are {len(splits.train):,} training images; give fewer")
    images = splits.train.take(np.arange(count))
    note = f"{splits.note}; the first {count} training images are train, val and test (data.overfit_images)"
    return replace(splits, train=images, val=images, test=images, note=note)


def fill_missing_splits(train: ImageSource, val: ImageSource, test: ImageSource, seed: int, base: Path | None = None) -> Splits:
    """Use val as test or, with a warning, test as val if one is empty; split train by names if both are.

    Args:
        train: images to train on.
        val: images to validate on; may be empty.
        test: images to test on; may be empty.
        seed: seed of a split by names.
        base: see `split_by_name`.
    """
    if not len(val) and not len(test):
        return split_by_name(train, seed, base)
    if not len(val):
        rank_zero_warn(
            f"no validation images beside the {len(test):,} test images, {test.location(0)} and on: they are used to validate "
            "too, so best.ckpt is chosen by them; add a folder or list of validation images",
            stacklevel=2,
        )
        return Splits(train, test, test, "val is test, so best.ckpt is chosen by the test images")
    if not len(test):
        return Splits(train, val, val, "test is val")
    return Splits(train, val, test, "train, val and test folders")


def split_by_name(images: ImageSource, seed: int, base: Path | None = None) -> Splits:
    """Split images about 90:5:5 by a hash of the seed and each image's path without its suffix.

    Each image has a number in [0, 1): val has those below 0.05, test those from there to 0.10. The sizes vary like those of
    independent draws. Another image in the folder moves no image from train to val or test, as long as one image was in train
    by its own number. At least the image with the smallest number is held out. Val and test are the same images where fewer
    than two are held out, or where there are fewer than 20 images.

    Args:
        images: all images.
        seed: seed of the split.
        base: folder to which paths are relative, if that is not the source's own folder.
    """
    count = len(images)
    if count < 2:
        return random_split(images, seed)
    numbers = _hash_to_unit(images, seed, base)
    order = np.argsort(numbers, kind="stable")
    held_out = numbers < 0.1
    held_out[order[0]], held_out[order[-1]] = True, False
    rule, train = f"split 90:5:5 by names, seed {seed}", images.take(np.flatnonzero(~held_out))
    if count < 20 or held_out.sum() < 2:
        val = images.take(np.flatnonzero(held_out))
        return Splits(train, val, val, f"{rule}, test is val")
    in_val = numbers < 0.05
    in_val[order[0]], in_val[order[held_out.sum() - 1]] = True, False  # each has at least one
    val, test = (images.take(np.flatnonzero(part)) for part in (in_val, held_out & ~in_val))
    return Splits(train, val, test, rule)


def _hash_to_unit(images: ImageSource, seed: int, base: Path | None) -> NDArray[np.float64]:
    """Return (N,) numbers in [0, 1), the same for each image whatever other images there are."""
    prefix = ""
    if base is not None and isinstance(images, ImageFiles):
        prefix = f"{os.path.relpath(images.root, base)}/".removeprefix("./")
    return (hash_names(images, f"{seed}/{prefix}") >> np.uint64(11)) / 2.0**53


def random_split(images: ImageSource, seed: int, percent: tuple[int, int, int] = (90, 5, 5)) -> Splits:
    """Split a fixed set of images at random by the seed. Of fewer than 20 images, val and test are the same.

    One image more or less draws another split; `split_by_name` is for folders that may change.

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
