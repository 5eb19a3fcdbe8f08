"""Which mask belongs to which image, and whether they fit: all that is checked before `inpaint` writes its first file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lit_inpaint.data.image_decode import read_image
from lit_inpaint.data.list_image_files import SUFFIXES, list_images
from lit_inpaint.errors import UserError
from lit_inpaint.masks import mask_ratio, read_mask
from lit_inpaint.visualization.progress_bar import progress_bar

_MASK_SUFFIX = "_mask"
_NAMED = 5


class InpaintInput(NamedTuple):
    """An image, its mask, and where the completed image goes."""

    image: Path
    mask: Path
    output: Path


def pair_inputs(images: Path, masks: Path, output: Path) -> list[InpaintInput]:
    """Pair images with masks by their names.

    A file is paired with a file whatever their names; one mask file serves all images of a folder. In folders (searched at any
    depth, except below `output`) the mask of `a/x.jpg` is `a/x.*` or `a/x_mask.*`. The two folders may be the same: then the
    files that end in `_mask` are the masks.

    Args:
        images: an image file or a folder.
        masks: a mask file or a folder.
        output: the folder for `a/x.png`.

    Raises:
        UserError: nothing there, an image without a mask or a mask without an image, two images that would be written to one
            file, or an input that would be overwritten.
    """
    for option, path in (("--images", images), ("--masks", masks)):
        if not path.exists():
            raise UserError(f"{option} {path} does not exist")
    same_folder = images.is_dir() and masks.is_dir() and images.samefile(masks)
    pictures = _listed("--images", images, output)
    if same_folder:
        pictures = {key: path for key, path in pictures.items() if not key.endswith(_MASK_SUFFIX)}
    if masks.is_file():
        found = dict.fromkeys(pictures, masks)
    else:
        available = _listed("--masks", masks, output)
        if same_folder:
            available = {key: path for key, path in available.items() if key.endswith(_MASK_SUFFIX)}
        found = _by_name(pictures, available, masks, all_used=images.is_dir())
    pairs = [InpaintInput(path, found[key], output / f"{key}.png") for key, path in pictures.items()]
    _refuse_overwriting(pairs)
    return pairs


def _listed(option: str, place: Path, output: Path) -> dict[str, Path]:
    """Image files by their path below `place` without the suffix; a single file by its stem."""
    if place.is_file():
        return {place.stem: place}
    below = output.resolve()
    results_inside = below != place.resolve() and output.is_dir()
    files = [path for path in list_images(place) if not (results_inside and path.resolve().is_relative_to(below))]
    if not files:
        raise UserError(f"{option} {place} holds no image ({', '.join(SUFFIXES)})")
    listed: dict[str, Path] = {}
    for path in files:
        key = path.relative_to(place).with_suffix("").as_posix()
        if key in listed:
            raise UserError(f"{option} {place}: {listed[key].name} and {path.name} differ only in their endings; rename one")
        listed[key] = path
    return listed


def _by_name(pictures: dict[str, Path], masks: dict[str, Path], folder: Path, all_used: bool) -> dict[str, Path]:
    found = {key: path for key in pictures if (path := masks.get(key) or masks.get(key + _MASK_SUFFIX))}
    used = set(found.values())
    bare = [path.name for key, path in pictures.items() if key not in found]
    idle = [path.name for path in masks.values() if all_used and path not in used]
    if bare or idle:
        complaints = [f"{len(bare)} image(s) without a mask in {folder}: {_first(bare)}"] if bare else []
        complaints += [f"{len(idle)} mask(s) without an image: {_first(idle)}"] if idle else []
        raise UserError("; ".join(complaints) + f". The mask of x.jpg is called x.png or x{_MASK_SUFFIX}.png")
    return found


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")


def _refuse_overwriting(pairs: Sequence[InpaintInput]) -> None:
    inputs = {path.resolve() for pair in pairs for path in (pair.image, pair.mask)}
    for pair in pairs:
        if pair.output.is_dir():
            raise UserError(f"{pair.output} is a folder, a completed image cannot be written there; name another --output")
        if pair.output.resolve() in inputs:
            raise UserError(f"{pair.output} is one of the inputs and would be overwritten; name another --output")


def check_pairs(pairs: Sequence[InpaintInput], white_is_hole: bool, max_hole: float) -> list[float]:
    """Read every image and mask once, one pair in memory at a time.

    Args:
        pairs: what `pair_inputs` found.
        white_is_hole: whether white or black marks holes in the mask files.
        max_hole: largest share of an image that may be hole, in (0, 1].

    Returns:
        The hole share of each pair, in (0, 1].

    Raises:
        UserError: a file that cannot be read, sizes that differ, a mask without a hole, or with more hole than `max_hole`.
    """
    shares = []
    for _, image, mask in read_pairs(pairs, white_is_hole, "checking"):
        del image
        shares.append(float(mask_ratio(mask)))
    for pair, share in zip(pairs, shares, strict=True):
        marks, other = ("white", "add --black_is_hole") if white_is_hole else ("black", "leave --black_is_hole out")
        if share == 0:
            raise UserError(f"the mask {pair.mask} has no hole: {marks} marks holes; {other} if yours are the other way round")
        if share > max_hole:
            raise UserError(
                f"the mask {pair.mask} makes {share:.1%} of the image a hole ({marks} marks holes): {other} if it is inverted, "
                f"or raise --max_hole {max_hole:g} if so much is missing"
            )
    return shares


def read_pairs(pairs: Sequence[InpaintInput], white_is_hole: bool, what: str) -> Iterator[tuple[InpaintInput, Tensor, Tensor]]:
    """Each pair with its image (3, H, W) uint8 and its mask (1, H, W) float 0 or 1; several under a progress bar.

    Raises:
        UserError: a file that cannot be read, or sizes that differ.
    """
    mask_file, mask = None, None
    for pair in progress_bar(pairs, description=what, unit="image", delay=0, disable=len(pairs) == 1):
        image = read_image(pair.image)
        if pair.mask != mask_file or mask is None:  # one mask for all images is read once
            mask_file, mask = pair.mask, read_mask(pair.mask, white_is_hole=white_is_hole)
        if image.shape[1:] != mask.shape[1:]:
            (h, w), (mask_h, mask_w) = image.shape[1:], mask.shape[1:]
            turned = " (the image is read as its EXIF tag turns it)" if (h, w) == (mask_w, mask_h) else ""
            raise UserError(
                f"{pair.image} is {w}x{h} pixels (width x height) but its mask {pair.mask} is {mask_w}x{mask_h}; "
                f"give a mask of the image's size{turned}"
            )
        yield pair, image, mask
