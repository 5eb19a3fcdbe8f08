"""Shared by data sets with an official layout: find folders, archives and lists, count images, and split them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn

from lit_inpaint.data.archives import READABLE_SUFFIXES, UNPACK_COMMANDS, ArchiveImages, is_archive, list_archive
from lit_inpaint.data.datamodule import InpaintingData
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.rng import RngStream, generator
from lit_inpaint.data.split_folders import find_split_folders, refuse_nested_splits, split_folders
from lit_inpaint.data.splits import Splits, fill_missing_splits, folder_splits, split_by_name
from lit_inpaint.errors import UserError
from lit_inpaint.storage.find_images import SUFFIXES
from lit_inpaint.storage.text_file import decode_text, read_text_file


def root_or_archive(data: InpaintingData) -> Path:
    """Return the folder or archive that `data.root` names.

    Raises:
        UserError: the folder does not exist or is empty, or the archive has to be unpacked.
    """
    if data.root is not None and is_archive(Path(data.root)):
        return Path(data.root)
    return data.root_folder()


def find_images(
    root: Path,
    folders: Sequence[str],
    archives: Sequence[str] = (),
    whole_archive: bool = False,
    complete_counts: Sequence[int] = (),
) -> ImageFiles:
    """Find the images of the first of `folders` that exists, unpacked or in an archive; empty if there is none.

    Args:
        root: the data set's folder, one of `folders` itself, or an archive.
        folders: paths below `root`, or inside the archives.
        archives: paths below `root`, without suffix; searched if no folder is unpacked.
        whole_archive: use all images of an archive that has none of the folders.
        complete_counts: if nothing is found, use all images in `root` if there are this many, unless it has split folders.

    Raises:
        UserError: an archive is damaged or has to be unpacked.
    """
    found = _find_in_folders(root, folders, archives, whole_archive)
    if (
        not len(found)
        and complete_counts
        and not _has_split_folders(root)
        and len(images := all_images(root)) in complete_counts
    ):
        return images
    return found


def _find_in_folders(root: Path, folders: Sequence[str], archives: Sequence[str], whole_archive: bool) -> ImageFiles:
    if root.is_file():
        return _select_in_archive(list_archive(root), folders, whole=False)
    for folder in folders:
        if (root / folder).is_dir():
            return list_images(root / folder)
        if root.absolute().as_posix().endswith(f"/{folder}"):
            return list_images(root)
    for archive in archives:
        for suffix in (*READABLE_SUFFIXES, *UNPACK_COMMANDS):
            path = root / f"{archive}{suffix}"
            if is_archive(path) and len(found := _select_in_archive(list_archive(path), folders, whole_archive)):
                return found
    return ImageFiles.from_paths(())


def find_text(root: Path, names: Sequence[str], archives: Sequence[str] = ()) -> str | None:
    """Read the first text file with one of `names` below `root`, beside it, or in an archive; None if there is none."""
    folders = (root, root.parent) if root.is_dir() else (root.parent,)
    for path in (folder / name for folder in folders for name in names):
        if path.is_file():
            return read_text_file(path)
    for path in [root] if root.is_file() else [root / f"{name}{suffix}" for name in archives for suffix in READABLE_SUFFIXES]:
        if path.is_file():
            members = list_archive(path)
            wanted = set(names)
            for index, name in enumerate(members.names()):
                if name in wanted or name.rsplit("/", 1)[-1] in wanted:
                    return decode_text(members.read_bytes(index), members.location(index))
    return None


def fallback_splits(root: Path, seed: int, reason: str) -> Splits:
    """Split any other folder or archive of images: by its folders for train, val and test, or by names.

    Args:
        root: folder or archive.
        seed: seed of the random split.
        reason: why the official layout was not recognized; precedes the note.
    """
    if root.is_file():
        images = all_images(root)
        found = _archive_split_folders(images, root)
        if found:
            train, val, test = (find_images(root, (found.get(name, name),)) for name in ("train", "val", "test"))
            splits = fill_missing_splits(train, val, test, seed)
        else:
            refuse_nested_splits(images.names(), root)
            splits = split_by_name(images, seed)
    else:
        splits = folder_splits(root, seed)
    return replace(splits, note=f"{reason}: {splits.note}", fallback=reason)


def all_images(root: Path) -> ImageFiles:
    """List every image in a folder or an archive."""
    return _select_in_archive(list_archive(root), (), whole=True) if root.is_file() else list_images(root)


def refuse_packed(root: Path, archives: Iterable[str]) -> None:
    """Check that none of the compressed `archives` is in `root`.

    Raises:
        UserError: one is there; the message has the command that unpacks it.
    """
    for name in archives:
        is_archive(root / name)


def require_images(folder: Path, names: Sequence[str], listed_in: Path) -> None:
    """Check that `folder` contains all images that the file `listed_in` lists.

    Raises:
        UserError: some are missing; the message has the first three.
    """
    present = set(list_images(folder).names())
    if absent := [name for name in names if name not in present]:
        count = f"{len(absent):,} of {len(names):,} images in {listed_in} are not in {folder}"
        raise UserError(f"{count} ({abbreviate(absent)}): unpack the archive again")


def file_numbers(files: ImageFiles) -> Indices:
    """Return (N,) the number at the end of each file's name, or -1 if there is none or it has more than 18 digits."""
    found = (re.search(r"(?<!\d)(\d{1,18})\.\w+$", name) for name in files.names())  # 19 digits may overflow int64
    return np.fromiter((int(match[1]) if match else -1 for match in found), np.int64, len(files))


def random_parts(images: ImageFiles, sizes: Sequence[int], seed: int) -> list[ImageFiles]:
    """Split images at random into parts of these sizes; each part keeps the images' order.

    Args:
        images: all images.
        sizes: size of each part; they add up to the official number of images. For another number of images, the parts are
            scaled in proportion, and the first has the rest.
        seed: seed of the split.
    """
    order = torch.randperm(len(images), generator=generator(seed, RngStream.SPLIT)).numpy()
    lengths = [round(len(images) * size / sum(sizes)) for size in sizes[1:]]
    cuts = np.cumsum([len(images) - sum(lengths), *lengths])[:-1]
    return [images.take(np.sort(part)) for part in np.split(order, cuts)]


def count_note(found: int, official: int, what: str = "images") -> str:
    """Return `5 of the 7 official images`. Warn if the numbers differ: papers then report results on another set."""
    note = f"{found:,} of the {official:,} official {what}"
    if found != official:
        rank_zero_warn(f"{note}: some are missing, or others are among them", stacklevel=3)
    return note


def abbreviate(names: Sequence[str]) -> str:
    """Return the first three of `names` and the number of the others."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _has_split_folders(root: Path) -> bool:
    return bool(_archive_split_folders(list_archive(root), root) if root.is_file() else split_folders(root))


def _archive_split_folders(images: ImageFiles, root: Path) -> dict[str, str]:
    return find_split_folders({name.partition("/")[0] for name in images.names() if "/" in name}, str(root))


def _select_in_archive(members: ArchiveImages, folders: Sequence[str], whole: bool) -> ArchiveImages:
    """Select the images below the first of `folders` that has any, in one pass over what may be millions of names."""
    by_folder: list[list[int]] = [[] for _ in folders]
    images: list[int] = []
    for index, name in enumerate(members.names()):
        if name.lower().endswith(SUFFIXES):
            images.append(index)
            for folder, indices in zip(folders, by_folder, strict=True):
                if name.startswith(f"{folder}/"):
                    indices.append(index)
    return members.take(np.array(next(filter(None, by_folder), images if whole else []), np.int64))
