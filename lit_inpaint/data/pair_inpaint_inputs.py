"""Pair the images, masks and edge maps given to the command `inpaint`, and check that they fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.errors import UserError
from lit_inpaint.masks.read_mask import read_single_mask
from lit_inpaint.storage.find_images import SUFFIXES
from lit_inpaint.storage.image_files import ImageFile, read_image_file
from lit_inpaint.storage.user_path import real_path

Pixels = NDArray[np.bool_]

_MASK_SUFFIX, _EDGES_SUFFIX = "_mask", "_edges"
_MAX_NAMED = 5


class InpaintInput(NamedTuple):
    """An image, its mask, the path of the completed image, and the image's edge map, if edges are given."""

    image: Path
    mask: Path
    output: Path
    edges: Path | None = None


def pair_inputs(images: Path, masks: Path, output: Path, edges: Path | None = None) -> list[InpaintInput]:
    """Pair images with masks, and with edge maps, by their names.

    An image file is paired with a mask file whatever their names; one mask file is used for all images of a folder. In folders
    (searched at any depth, except below `output`), the mask of `a/x.jpg` is `a/x.*` or `a/x_mask.*`. The two folders may be the
    same: then the files that end in `_mask` are the masks. Edge maps are `a/x.*` or `a/x_edges.*` in a folder of their own.

    Args:
        images: an image file or a folder.
        masks: a mask file or a folder.
        output: folder of the completed images, such as `a/x.png`.
        edges: a file or a folder of edge maps; None: no edges.

    Raises:
        UserError: a path does not exist or has no images, an image has no mask or a mask no image, two images would be written
            to one file, or an input would be overwritten; the same of edges.
    """
    for option, path in (("--images", images), ("--masks", masks), ("--edges", edges)):
        if path is not None and not path.exists():
            raise UserError(f"{option} {path} does not exist")
    same_folder = images.is_dir() and masks.is_dir() and images.samefile(masks)
    image_files = _files_by_key("--images", images, output)
    if same_folder:
        image_files = {key: path for key, path in image_files.items() if not key.endswith(_MASK_SUFFIX)}
    if masks.is_file():
        mask_of = dict.fromkeys(image_files, masks)
    else:
        mask_files = _files_by_key("--masks", masks, output)
        if same_folder:
            mask_files = {key: path for key, path in mask_files.items() if key.endswith(_MASK_SUFFIX)}
        mask_of = _match_by_name(image_files, mask_files, masks, "mask", _MASK_SUFFIX, require_all_used=images.is_dir())
    edges_of: dict[str, Path] = {}
    if edges is not None and edges.is_file():
        edges_of = dict.fromkeys(image_files, edges)
    elif edges is not None:
        edge_files = _files_by_key("--edges", edges, output)
        edges_of = _match_by_name(image_files, edge_files, edges, "edge map", _EDGES_SUFFIX, require_all_used=images.is_dir())
    for option, folder in (("--images", images), ("--masks", masks), ("--edges", edges)):
        if folder is not None and folder.is_dir() and output.is_dir() and folder.samefile(output):
            raise UserError(f"--output {output} is the folder of {option}; name another one, such as {output / 'inpainted'}")
    pairs = [InpaintInput(path, mask_of[key], output / f"{key}.png", edges_of.get(key)) for key, path in image_files.items()]
    _refuse_overwriting(pairs)
    return pairs


def _files_by_key(option: str, path: Path, output: Path) -> dict[str, Path]:
    """Return image files by their path below the folder `path` without the suffix; a single file by its stem."""
    if path.is_file():
        return {path.stem: path}
    output_folder = real_path(output)
    output_inside = output_folder != real_path(path) and output.is_dir()
    files = [file for file in list_images(path) if not (output_inside and real_path(file).is_relative_to(output_folder))]
    if not files:
        raise UserError(f"{option} {path} holds no image ({', '.join(SUFFIXES)})")
    by_key: dict[str, Path] = {}
    for file in files:
        key = file.relative_to(path).with_suffix("").as_posix()
        if key in by_key:
            raise UserError(f"{option} {path}: {by_key[key].name} and {file.name} differ only in their endings; rename one")
        by_key[key] = file
    return by_key


def _match_by_name(
    images: dict[str, Path], others: dict[str, Path], folder: Path, kind: str, suffix: str, require_all_used: bool
) -> dict[str, Path]:
    """Return the mask, or edge map (`kind`), of each image by the image's key; names may end in `suffix`."""
    matched = {key: path for key in images if (path := others.get(key) or others.get(key + suffix))}
    used = set(matched.values())
    without = [path.name for key, path in images.items() if key not in matched]
    unused = [path.name for path in others.values() if require_all_used and path not in used]
    if without or unused:
        article = "an" if kind.startswith("e") else "a"
        problems = [f"{len(without)} image(s) without {article} {kind} in {folder}: {_first(without)}"] if without else []
        problems += [f"{len(unused)} {kind}(s) without an image: {_first(unused)}"] if unused else []
        raise UserError("; ".join(problems) + f". The {kind} of x.jpg is called x.png or x{suffix}.png")
    return matched


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (" …" if len(names) > _MAX_NAMED else "")


def _refuse_overwriting(pairs: Sequence[InpaintInput]) -> None:
    inputs = {real_path(path) for pair in pairs for path in (pair.image, pair.mask, pair.edges) if path is not None}
    for pair in pairs:
        if pair.output.is_dir():
            raise UserError(f"{pair.output} is a folder, a completed image cannot be written there; name another --output")
        if real_path(pair.output) in inputs:
            raise UserError(f"{pair.output} is one of the inputs and would be overwritten; name another --output")


def read_input(
    pair: InpaintInput,
    white_is_hole: bool,
    max_hole: float,
    read_mask: Callable[[Path, bool], Pixels] = read_single_mask,
) -> tuple[ImageFile, Pixels, Pixels | None]:
    """Read an image with its mask and its edge map, if there is one, both (H, W) bool.

    Args:
        pair: one of the result of `pair_inputs`.
        white_is_hole: whether white or black marks holes in the mask file.
        max_hole: maximum mask ratio, in (0, 1].
        read_mask: `read_single_mask`, or one that keeps what it has read.

    Raises:
        UserError: a file cannot be read, image and mask or edge map differ in size, the mask has no hole, or its ratio exceeds
            `max_hole`.
    """
    image = read_image_file(pair.image)
    mask = read_mask(pair.mask, white_is_hole)
    _require_size(pair.image, image.shape, pair.mask, mask.shape, "mask")
    ratio = float(mask.mean())
    marks, other = ("white", "add --black_is_hole") if white_is_hole else ("black", "leave --black_is_hole out")
    if ratio == 0:
        raise UserError(f"the mask {pair.mask} has no hole: {marks} marks holes; {other} if yours are the other way round")
    if ratio > max_hole:
        raise UserError(
            f"the mask {pair.mask} makes {ratio:.1%} of the image a hole ({marks} marks holes): {other} if it is inverted, "
            f"or raise --max_hole {max_hole:g} if so much is missing"
        )
    if pair.edges is None:
        return image, mask, None
    try:
        edges = read_mask(pair.edges, True)
    except UserError as error:
        raise UserError(str(error).replace("the mask", "the edge map", 1)) from error
    _require_size(pair.image, image.shape, pair.edges, edges.shape, "edge map")
    return image, mask, edges


def _require_size(image: Path, size: tuple[int, int], other: Path, other_size: tuple[int, ...], kind: str) -> None:
    if other_size == size:
        return
    (height, width), (other_height, other_width) = size, other_size
    article = "an" if kind.startswith("e") else "a"
    rotated = " (the image is read as its EXIF tag turns it)" if (height, width) == (other_width, other_height) else ""
    raise UserError(
        f"{image} is {width}x{height} pixels (width x height) but its {kind} {other} is {other_width}x{other_height}; "
        f"give {article} {kind} of the image's size{rotated}"
    )
