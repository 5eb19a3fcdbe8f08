"""Data sets as their authors hand them out: finding their folders, archives and lists, counting, and dividing them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn

from lit_inpaint.data.archives import COMPRESSED, READABLE, ArchiveImages, is_archive, list_archive
from lit_inpaint.data.datamodule import InpaintingData
from lit_inpaint.data.image_source import ImageFiles, Indices
from lit_inpaint.data.list_image_files import SUFFIXES, list_images
from lit_inpaint.data.rng import RngStream, generator
from lit_inpaint.data.splits import Splits, fill_missing_splits, folder_splits, random_split


def place_of(data: InpaintingData) -> Path:
    """The folder that `data.root` names, or the archive.

    Raises:
        UserError: there is no such folder, it is empty, or the archive has to be unpacked.
    """
    if data.root is not None and is_archive(Path(data.root)):
        return Path(data.root)
    return data.root_folder()


def images_at(place: Path, folders: Sequence[str], archives: Sequence[str] = (), whole: bool = False) -> ImageFiles:
    """The images of the first of `folders` that is there, unpacked or in an archive; none where none is.

    Args:
        place: the data set's folder (or one of `folders` itself), or an archive.
        folders: below `place`, or as they stand in the archives.
        archives: below `place`, without suffix; looked into where no folder is unpacked.
        whole: take all images of an archive in which none of the folders is.

    Raises:
        UserError: an archive is damaged, or has to be unpacked.
    """
    if place.is_file():
        return _in_archive(list_archive(place), folders, whole=False)
    for folder in folders:
        if (place / folder).is_dir():
            return list_images(place / folder)
        if place.absolute().as_posix().endswith(f"/{folder}"):
            return list_images(place)
    for archive in archives:
        for suffix in (*READABLE, *COMPRESSED):
            if is_archive(path := place / f"{archive}{suffix}") and len(
                found := _in_archive(list_archive(path), folders, whole)
            ):
                return found
    return ImageFiles.from_paths(())


def text_at(place: Path, names: Sequence[str], archives: Sequence[str] = ()) -> str | None:
    """The text of the first file of these `names` below `place`, beside it, or in an archive; None where there is none."""
    folders = (place, place.parent) if place.is_dir() else (place.parent,)
    for path in (folder / name for folder in folders for name in names):
        if path.is_file():
            return path.read_text(errors="surrogateescape")
    for path in [place] if place.is_file() else [place / f"{name}{suffix}" for name in archives for suffix in READABLE]:
        if path.is_file():
            found = list_archive(path)
            wanted = set(names)
            for index, name in enumerate(found.names()):
                if name in wanted or name.rsplit("/", 1)[-1] in wanted:
                    return found.read_bytes(index).decode(errors="surrogateescape")
    return None


def fallback_splits(place: Path, seed: int, why: str) -> Splits:
    """What any other folder or archive of images is taken for: its `train`, `val` and `test`, or a drawn split.

    Args:
        place: folder or archive.
        seed: of the draw.
        why: it is not taken for the data set; goes before the note.
    """
    if place.is_file():
        train, val, test = (images_at(place, (name,)) for name in ("train", "val", "test"))
        some = len(train) or len(val) or len(test)
        plain = fill_missing_splits(train, val, test, seed) if some else random_split(all_images(place), seed)
    else:
        plain = folder_splits(place, seed)
    return replace(plain, note=f"{why}: {plain.note}")


def all_images(place: Path) -> ImageFiles:
    """Every image in a folder or an archive."""
    return _in_archive(list_archive(place), (), whole=True) if place.is_file() else list_images(place)


def has_parts(place: Path) -> bool:
    """Whether a folder has been divided by hand, into `train`, `val` or `test`."""
    return any((place / name).is_dir() for name in ("train", "val", "test"))


def numbers_of(files: ImageFiles) -> Indices:
    """(N,) the number at the end of each file's name, -1 where there is none or it has more than 18 digits."""
    found = (re.search(r"(?<!\d)(\d{1,18})\.\w+$", name) for name in files.names())  # 19 digits may be too many for int64
    return np.fromiter((int(match[1]) if match else -1 for match in found), np.int64, len(files))


def drawn(pictures: ImageFiles, sizes: Sequence[int], seed: int) -> list[ImageFiles]:
    """Parts of these sizes, drawn from the seed, each in the pictures' order.

    Args:
        pictures: all there are.
        sizes: of all parts; together the official number of pictures. Of more or fewer pictures the parts are as large in
            proportion, the first takes the rest.
        seed: of the draw.
    """
    order = torch.randperm(len(pictures), generator=generator(seed, RngStream.SPLIT)).numpy()
    lengths = [round(len(pictures) * size / sum(sizes)) for size in sizes[1:]]
    cuts = np.cumsum([len(pictures) - sum(lengths), *lengths])[:-1]
    return [pictures.take(np.sort(part)) for part in np.split(order, cuts)]


def counted(found: int, official: int, what: str = "images") -> str:
    """`5 of the 7 official images`; warns where it is another number, as the set is then not the one that papers write of."""
    line = f"{found:,} of the {official:,} official {what}"
    if found != official:
        rank_zero_warn(f"{line}: some are missing, or others are among them", stacklevel=3)
    return line


def missing(names: Sequence[str]) -> str:
    """The first three of `names` and how many more there are."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _in_archive(found: ArchiveImages, folders: Sequence[str], whole: bool) -> ArchiveImages:
    """The images below the first of `folders` that has any, in one pass over what may be millions of names."""
    inside: list[list[int]] = [[] for _ in folders]
    images: list[int] = []
    for index, name in enumerate(found.names()):
        if name.lower().endswith(SUFFIXES):
            images.append(index)
            for folder, places in zip(folders, inside, strict=True):
                if name.startswith(f"{folder}/"):
                    places.append(index)
    return found.take(np.array(next(filter(None, inside), images if whole else []), np.int64))
