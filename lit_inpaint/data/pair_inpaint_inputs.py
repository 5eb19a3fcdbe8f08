"""Pair the images, masks and edge maps given to the command `inpaint`, and check that they fit before a file is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.errors import UserError
from lit_inpaint.masks import mask_ratio, read_mask
from lit_inpaint.storage.find_images import SUFFIXES
from lit_inpaint.storage.image_decode import read_image
from lit_inpaint.visualization.progress_bar import progress_bar

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
    pairs = [InpaintInput(path, mask_of[key], output / f"{key}.png", edges_of.get(key)) for key, path in image_files.items()]
    _refuse_overwriting(pairs)
    return pairs


def _files_by_key(option: str, path: Path, output: Path) -> dict[str, Path]:
    """Return image files by their path below the folder `path` without the suffix; a single file by its stem."""
    if path.is_file():
        return {path.stem: path}
    output_folder = output.resolve()
    output_inside = output_folder != path.resolve() and output.is_dir()
    files = [file for file in list_images(path) if not (output_inside and file.resolve().is_relative_to(output_folder))]
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
    inputs = {path.resolve() for pair in pairs for path in (pair.image, pair.mask, pair.edges) if path is not None}
    for pair in pairs:
        if pair.output.is_dir():
            raise UserError(f"{pair.output} is a folder, a completed image cannot be written there; name another --output")
        if pair.output.resolve() in inputs:
            raise UserError(f"{pair.output} is one of the inputs and would be overwritten; name another --output")


def check_pairs(pairs: Sequence[InpaintInput], white_is_hole: bool, max_hole: float) -> list[float]:
    """Read every file once, one pair in memory at a time, and return the mask ratio of each pair, in (0, 1].

    Args:
        pairs: result of `pair_inputs`.
        white_is_hole: whether white or black marks holes in the mask files.
        max_hole: maximum mask ratio, in (0, 1].

    Raises:
        UserError: a file cannot be read, image and mask or edge map differ in size, a mask has no hole, or its ratio exceeds
            `max_hole`.
    """
    ratios = []
    for pair, image, mask in read_pairs(pairs, white_is_hole, "checking"):
        read_edges(pair, image)
        del image
        ratios.append(float(mask_ratio(mask)))
    for pair, ratio in zip(pairs, ratios, strict=True):
        marks, other = ("white", "add --black_is_hole") if white_is_hole else ("black", "leave --black_is_hole out")
        if ratio == 0:
            raise UserError(f"the mask {pair.mask} has no hole: {marks} marks holes; {other} if yours are the other way round")
        if ratio > max_hole:
            raise UserError(
                f"the mask {pair.mask} makes {ratio:.1%} of the image a hole ({marks} marks holes): {other} if it is inverted, "
                f"or raise --max_hole {max_hole:g} if so much is missing"
            )
    return ratios


def read_pairs(
    pairs: Sequence[InpaintInput], white_is_hole: bool, description: str
) -> Iterator[tuple[InpaintInput, Tensor, Tensor]]:
    """Yield each pair with its image (3, H, W) uint8 and its mask (1, H, W) float 0 or 1.

    Args:
        pairs: result of `pair_inputs`; of more than one, a progress bar is shown.
        white_is_hole: whether white or black marks holes in the mask files.
        description: label of the progress bar.

    Raises:
        UserError: a file cannot be read, or image and mask differ in size.
    """
    mask_file, mask = None, None
    for pair in progress_bar(pairs, description=description, unit="image", delay=0, disable=len(pairs) == 1):
        image = read_image(pair.image)
        if pair.mask != mask_file or mask is None:  # one mask for all images is read once
            mask_file, mask = pair.mask, read_mask(pair.mask, white_is_hole=white_is_hole)
        if image.shape[1:] != mask.shape[1:]:
            (h, w), (mask_h, mask_w) = image.shape[1:], mask.shape[1:]
            rotated = " (the image is read as its EXIF tag turns it)" if (h, w) == (mask_w, mask_h) else ""
            raise UserError(
                f"{pair.image} is {w}x{h} pixels (width x height) but its mask {pair.mask} is {mask_w}x{mask_h}; "
                f"give a mask of the image's size{rotated}"
            )
        yield pair, image, mask


def read_edges(pair: InpaintInput, image: Tensor) -> Tensor | None:
    """Return the edge map of an image (3, H, W), (1, H, W) float 0 or 1 (white lines in the file); None if it has none.

    Raises:
        UserError: the file cannot be read, or differs from the image in size.
    """
    if pair.edges is None:
        return None
    try:
        edges = read_mask(pair.edges)
    except UserError as error:
        raise UserError(str(error).replace("the mask", "the edge map", 1)) from error
    if edges.shape[1:] != image.shape[1:]:
        (h, w), (edges_h, edges_w) = image.shape[1:], edges.shape[1:]
        raise UserError(
            f"{pair.image} is {w}x{h} pixels (width x height) but its edge map {pair.edges} is {edges_w}x{edges_h}; give an "
            "edge map of the image's size"
        )
    return edges
