"""Inpaint one image from Python: a file, a Pillow image, an array or a tensor, of any size and kind."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from numbers import Integral
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.baselines import ClassicalMethod, find_method
from lit_inpaint.inpainting.hole_groups import Mask
from lit_inpaint.inpainting.strategies import DEFAULT_SIZE, MIN_SIZE, Filler, Strategy
from lit_inpaint.masks.read_mask import find_marked, read_single_mask
from lit_inpaint.runs.checkpoint_file import load
from lit_inpaint.runs.model_folder import SHIPPED
from lit_inpaint.storage.image_decode import pixels_of
from lit_inpaint.storage.image_files import SUFFIXES, read_image_file, write_image_file
from lit_inpaint.storage.output_files import require_writable_folder

MaskLike = str | Path | Image.Image | NDArray[Any] | Tensor
ModelLike = Inpainter | ClassicalMethod | str | Path | None
_MAX_CHANNELS = 4
_8_BITS, _16_BITS = 255, 65535


@overload
def inpaint(
    image: str | Path,
    mask: MaskLike,
    model: ModelLike = None,
    *,
    output: str | Path,
    strategy: Strategy = "crop",
    method: str | None = None,
    size: int | None = None,
    blend: bool = False,
    edges: MaskLike | None = None,
    white_is_hole: bool = True,
) -> Path: ...


@overload
def inpaint(
    image: str | Path | Image.Image,
    mask: MaskLike,
    model: ModelLike = None,
    *,
    strategy: Strategy = "crop",
    method: str | None = None,
    size: int | None = None,
    blend: bool = False,
    edges: MaskLike | None = None,
    white_is_hole: bool = True,
) -> Image.Image: ...


@overload
def inpaint(
    image: NDArray[Any],
    mask: MaskLike,
    model: ModelLike = None,
    *,
    strategy: Strategy = "crop",
    method: str | None = None,
    size: int | None = None,
    blend: bool = False,
    edges: MaskLike | None = None,
    white_is_hole: bool = True,
) -> NDArray[Any]: ...


@overload
def inpaint(
    image: Tensor,
    mask: MaskLike,
    model: ModelLike = None,
    *,
    strategy: Strategy = "crop",
    method: str | None = None,
    size: int | None = None,
    blend: bool = False,
    edges: MaskLike | None = None,
    white_is_hole: bool = True,
) -> Tensor: ...


def inpaint(
    image: str | Path | Image.Image | NDArray[Any] | Tensor,
    mask: MaskLike,
    model: ModelLike = None,
    *,
    output: str | Path | None = None,
    strategy: Strategy = "crop",
    method: str | None = None,
    size: int | None = None,
    blend: bool = False,
    edges: MaskLike | None = None,
    white_is_hole: bool = True,
) -> Path | Image.Image | NDArray[Any] | Tensor:
    """Fill the holes of one image of any size; pixels outside the holes keep their exact values.

    The result is of the kind of `image`:

    - A file, with `output`: the path of the written file, PNG or TIFF, with the channels and bits of the image. Without
      `output`: a Pillow image, which cannot have colors of 16 bits. The EXIF orientation is applied, so the mask fits the image
      as viewers show it. The ICC profile, the resolution and the other EXIF data are kept.
    - A Pillow image: one of its size and mode with its metadata. Its EXIF orientation is not applied, as in the rest of
      Pillow. An image with a palette becomes RGB or RGBA, since a palette lacks the new colors.
    - A NumPy array (H, W) or (H, W, C): of its shape and type: bool, uint8, uint16, int32, or float in [0, 1].
    - A tensor (H, W), (C, H, W) or (B, C, H, W): of its shape, type and device.

    C is 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha). Alpha is not changed. Images of one bit keep one bit.

    Args:
        image: what to fill; the content of its holes is ignored, and may be NaN.
        mask: (H, W), 1, True or white = hole. A file or a Pillow image is read by the rules of `lit_inpaint.masks.read_mask`.
            An array or a tensor holds bools, 0 and 1, or 0 and 255, with any further axes of length 1. For a batch of tensors
            it may be (B, 1, H, W).
        model: a network, or a checkpoint or model folder to load; None: the network that comes with the package. A checkpoint
            is loaded at each call, so load it once with `lit_inpaint.load` for many images.
        output: file to write where `image` is a path: `.png`, `.tif` or `.tiff`; its folder is created.
        strategy: "crop" fills crops around the holes, wide holes coarse to fine; "tiles" fills overlapping tiles, and "whole"
            the image at once. See `lit_inpaint.inpainting.strategies`.
        method: name of a classical method in place of a network, such as "telea".
        size: side of the network's training images in pixels; None: as the checkpoint records it, else 256.
        blend: adapt the colors of the filled holes to their edges (Poisson blending).
        edges: (H, W), edges to draw in the holes, given like a mask; for EdgeConnect, and for DeepFill v2 with guidance.
        white_is_hole: whether white or black marks the hole; black: 0, False.

    Raises:
        ValueError: an argument has another type, shape or range of values; the message names the remedy.
        UserError: a file cannot be read or written, or a name is unknown.
    """
    if output is not None and not isinstance(image, (str, Path)):
        raise ValueError(f"output goes with the path of an image; save the result for this {type(image).__name__} yourself")
    filler = make_filler(model, strategy, method, size, blend)
    if edges is not None:
        require_edges(filler)
    if isinstance(image, Tensor):
        return _fill_tensor(filler, image, mask, edges, white_is_hole)
    if isinstance(image, np.ndarray):
        _require_shape(image)
        result = image.copy()
        fill_array(filler, result, _as_mask(mask, image.shape[:2], white_is_hole), _as_edges(edges, image.shape[:2]))
        return result
    if isinstance(image, Image.Image):
        return _fill_pillow(filler, image, mask, edges, white_is_hole)
    if not isinstance(image, (str, Path)):
        raise ValueError(f"image is a {type(image).__name__}; expected a path, a Pillow image, a NumPy array or a tensor")
    target = None if output is None else _output_path(Path(output), Path(image))
    file = read_image_file(image)
    fill_array(filler, file.pixels, _as_mask(mask, file.shape, white_is_hole), _as_edges(edges, file.shape))
    if target is None:
        return file.to_pillow()
    write_image_file(file, target)
    return target


def make_filler(model: ModelLike, strategy: Strategy, method: str | None, size: int | None, blend: bool) -> Filler:
    """Load what the arguments of `inpaint` name, on the GPU if there is one.

    Raises:
        UserError: a name is unknown, a checkpoint cannot be read, or `blend` is asked of a classical method.
        ValueError: both `model` and `method` are given, or `size` is too small.
    """
    if model is not None and method is not None:
        raise ValueError("give model or method, one of the two")
    if size is not None and (not isinstance(size, Integral) or size < MIN_SIZE):
        raise ValueError(f"size is {size!r}, it must be a whole number of at least {MIN_SIZE}")
    if not isinstance(model, (Inpainter, ClassicalMethod, str, PathLike, NoneType)):
        raise ValueError(f"model is a {type(model).__name__}; expected a network of lit_inpaint, or the path of a checkpoint")
    if method is not None:
        model = find_method(method)
    if isinstance(model, ClassicalMethod):
        if blend:
            raise UserError("blending goes with a network; a classical method has no use for it")
        return Filler(model, strategy, size or DEFAULT_SIZE, coarse_to_fine=False)
    if not isinstance(model, Inpainter):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = (_shipped() if model is None or str(model) == SHIPPED else load(model)).to(device)
    return Filler(
        model, strategy, size or model.trained_size or DEFAULT_SIZE, device=model.device, blending="poisson" if blend else None
    )


@cache
def _shipped() -> Inpainter:
    """Load the network of the package once."""
    return load()


def require_edges(filler: Filler) -> None:
    """Raise a `UserError` unless the method takes edges."""
    if not isinstance(filler.method, Inpainter):
        raise UserError("edges go with a network; a classical method has no use for them")
    filler.method.require_edges()


def fill_array(filler: Filler, array: NDArray[Any], hole: Mask, edges: Mask | None = None) -> None:
    """Fill the holes of an array (H, W) or (H, W, C) in place, as `inpaint` describes it.

    Raises:
        ValueError: another shape, type or range of values.
    """
    _require_shape(array)
    if hole.shape != array.shape[:2]:
        raise ValueError(f"mask is {hole.shape} beside an image of {array.shape}; expected (H, W) of the image")
    if not hole.any():
        return
    channels = array[..., None] if array.ndim == 2 else array
    colors = channels[..., : 1 if channels.shape[2] <= 2 else 3]
    if array.dtype == np.bool_:
        wide = colors.astype(np.uint8)
        filler.fill(wide, 1, hole, edges)
        colors[hole] = wide[hole] > 0
        return
    filler.fill(colors, _white(colors, hole), hole, edges)


def _require_shape(array: NDArray[Any]) -> None:
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= _MAX_CHANNELS):
        raise ValueError(
            f"image is {array.shape}; expected (H, W) or (H, W, C) with 1 to 4 channels, as Pillow and OpenCV have it"
        )


def _white(colors: NDArray[Any], hole: Mask) -> float:
    """Return the value of white in an array (H, W, C); only known pixels count."""
    kind, width = colors.dtype.kind, colors.dtype.itemsize
    if kind not in "fui" or (width > 4 and kind != "f"):
        raise ValueError(f"image is {colors.dtype}; expected bool, uint8, uint16, int32 or float")
    if colors.dtype == np.uint8:
        return _8_BITS
    known = ~hole
    if not known.any():
        return 1 if kind == "f" else _16_BITS
    highest = 1 if kind == "f" else _16_BITS
    low = min(float(colors[..., channel].min(where=known, initial=highest)) for channel in range(colors.shape[2]))
    high = max(float(colors[..., channel].max(where=known, initial=0)) for channel in range(colors.shape[2]))
    if kind == "f":
        if not (low >= -1e-4 and high <= 1 + 1e-4):  # also false for NaN
            raise ValueError(f"image spans [{low:.3g}, {high:.3g}] outside its holes; expected [0, 1]")
        return 1
    if low < 0 or high > _16_BITS:
        raise ValueError(f"image spans [{low:g}, {high:g}] outside its holes; expected at most [0, 65535]")
    return _8_BITS if high <= _8_BITS else _16_BITS


def _as_mask(mask: MaskLike, shape: tuple[int, int], white_is_hole: bool, name: str = "mask") -> Mask:
    """Convert a mask of any kind to (H, W) bool, True = hole, and check its size."""
    if isinstance(mask, (str, Path)):
        hole = read_single_mask(mask, white_is_hole)
        if hole.shape != shape:
            raise UserError(
                f"the {name} {mask} is {hole.shape[1]}x{hole.shape[0]} pixels (width x height) but its image is "
                f"{shape[1]}x{shape[0]}; give a {name} of the image's size"
            )
        return hole
    if isinstance(mask, Image.Image):
        hole = find_marked(pixels_of(mask), white_is_hole, f"the {name}")
    elif isinstance(mask, (np.ndarray, Tensor)):
        hole = _from_values(mask.detach().cpu().numpy() if isinstance(mask, Tensor) else mask, white_is_hole, name)
    else:
        raise ValueError(f"{name} is a {type(mask).__name__}; expected a path, a Pillow image, a NumPy array or a tensor")
    if hole.shape != shape:
        raise ValueError(f"{name} is {hole.shape} beside an image of {shape}, both (H, W); give a {name} of the image's size")
    return hole


def _as_edges(edges: MaskLike | None, shape: tuple[int, int]) -> Mask | None:
    return None if edges is None else _as_mask(edges, shape, True, "edges")


def _from_values(values: NDArray[Any], white_is_hole: bool, name: str) -> Mask:
    shape = values.shape
    if values.ndim > 2:
        values = values.reshape([side for place, side in enumerate(shape) if side > 1 or place in _plane(shape)])
    if values.ndim != 2:
        raise ValueError(f"{name} is {shape}; expected (H, W), with any further axes of length 1")
    if values.dtype != np.bool_:
        white = 255 if (values > 1).any() else 1
        if not ((values == 0) | (values == white)).all():
            raise ValueError(f"{name} has other values than 0 and 1, or 0 and 255; threshold it, such as {name} > 127")
        values = values > 0
    return np.ascontiguousarray(values if white_is_hole else ~values)


def _plane(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return which axes are rows and columns: the last two, or the two before a last one of length 1."""
    return (len(shape) - 3, len(shape) - 2) if shape[-1] == 1 and shape[0] != 1 else (len(shape) - 2, len(shape) - 1)


def _fill_tensor(filler: Filler, image: Tensor, mask: MaskLike, edges: MaskLike | None, white_is_hole: bool) -> Tensor:
    shape = tuple(image.shape)
    if image.ndim not in (2, 3, 4) or (image.ndim > 2 and not 1 <= shape[-3] <= _MAX_CHANNELS):
        raise ValueError(f"image is {shape}; expected (H, W), (C, H, W) or (B, C, H, W) with 1 to 4 channels")
    batch = image.detach().reshape(-1, shape[-3] if image.ndim > 2 else 1, *shape[-2:])
    size = (shape[-2], shape[-1])
    masks: Sequence[MaskLike] = [mask] * len(batch)
    if isinstance(mask, (np.ndarray, Tensor)) and mask.ndim == 4 and mask.shape[0] == len(batch):
        masks = list(mask)
    result = batch.clone()
    for number, one in enumerate(batch):
        hole, drawn = _as_mask(masks[number], size, white_is_hole), _as_edges(edges, size)
        low = one.dtype in (torch.bfloat16, torch.float16)
        array = (one.float() if low else one).cpu().permute(1, 2, 0).contiguous().numpy().copy()
        fill_array(filler, array, hole, drawn)
        filled = torch.from_numpy(array).permute(2, 0, 1).to(image)
        result[number] = torch.where(torch.from_numpy(hole).to(image.device), filled, one)
    return result.reshape(shape)


def _fill_pillow(
    filler: Filler, image: Image.Image, mask: MaskLike, edges: MaskLike | None, white_is_hole: bool
) -> Image.Image:
    size = (image.height, image.width)
    hole, drawn = _as_mask(mask, size, white_is_hole), _as_edges(edges, size)
    if image.mode in ("P", "PA"):
        info = image.info
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image.info = {name: value for name, value in info.items() if name != "transparency"}
    result, alike = image.copy(), image.mode in ("1", "L", "LA", "RGB", "RGBA", "F", "I") or image.mode.startswith("I;16")
    pixels = np.array(image if alike else image.convert("RGB"))
    fill_array(filler, pixels, hole, drawn)
    filled = Image.fromarray(pixels)
    if filled.mode != image.mode:
        filled = filled.convert(image.mode)
    result.paste(filled, mask=Image.fromarray(hole))
    return result


def _output_path(output: Path, image: Path) -> Path:
    if output.suffix.lower() not in SUFFIXES:
        raise UserError(f"output {output} must end with .png or .tif: other formats may change the known pixels")
    if output.exists() and image.exists() and output.samefile(image):
        raise UserError(f"output {output} is the image itself and would be overwritten; name another file")
    require_writable_folder(output.parent)
    return output
