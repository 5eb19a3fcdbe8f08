"""Apply a network that takes only some sizes to images of any size: pad to a multiple, or subsample large images.

Polyphase subsampling (space to depth) makes k² small images of one large image: every k-th pixel in each direction, once for
each start. Each small image shows the whole scene.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn.functional import interpolate, pad

from lit_inpaint.types import Prediction, composite


def predict_any_size(
    network: Callable[[Tensor, Tensor], Prediction], image: Tensor, mask: Tensor, multiple: int, subsample_above: int | None
) -> Tensor:
    """Return the raw output (B, 3, H, W) of a paper for images of any size.

    Args:
        network: image (B, 3, h, w) and mask (B, 1, h, w), h and w multiples of `multiple`, to the prediction.
        image: (B, 3, H, W) in [0, 1]; what its holes hold is ignored if `network` ignores it.
        mask: (B, 1, H, W), 1 = hole.
        multiple: of which the network needs both sides to be multiples; others are padded.
        subsample_above: images with a longer side are subsampled to squares of this side; None: never.
    """
    height, width = image.shape[-2:]
    if subsample_above is not None and max(height, width) > subsample_above:

        def complete(small: Tensor, hole: Tensor) -> Tensor:
            return composite(small, network(small, hole).image, hole)

        return complete_subsampled(complete, image, mask, subsample_above)
    return crop(network(*pad_to_multiple(image, mask, multiple)).image, height, width)


def pad_to_multiple(
    image: Tensor, mask: Tensor, multiple: int, min_side: int = 1, mode: Literal["replicate", "symmetric"] = "replicate"
) -> tuple[Tensor, Tensor]:
    """Pad the right and the bottom edge in a mode that works for images smaller than the padding, unlike torch's reflection.

    Args:
        image: (B, C, H, W).
        mask: (B, 1, H, W).
        multiple: of which both padded sides are multiples.
        min_side: lower limit of both padded sides, itself a multiple of `multiple` or 1.
        mode: "replicate" repeats the last row and column; "symmetric" mirrors the image, edge included, as in `numpy.pad`.

    Returns:
        Padded image and mask; the inputs themselves where nothing is missing.
    """
    height, width = image.shape[-2:]
    if torch.compiler.is_exporting() and (multiple > 1 or min_side > 1):
        return _pad_in_graph(image, mask, multiple, min_side, mode)
    below, right = (max(min_side, side + -side % multiple) - side for side in (height, width))
    if not (below or right):
        return image, mask
    if mode == "symmetric":
        rows, columns = (_mirrored(side, more, image.device) for side, more in ((height, below), (width, right)))
        return image[:, :, rows][..., columns], mask[:, :, rows][..., columns]
    padding = (0, right, 0, below)
    return pad(image, padding, mode="replicate"), pad(mask, padding, mode="replicate")


def crop(image: Tensor, height: int, width: int) -> Tensor:
    """Cut the padding of `pad_to_multiple` off: (B, C, H, W) to (B, C, height, width)."""
    if torch.compiler.is_exporting():  # a slice would make the graph depend on whether there is a padding
        for dim, side in ((2, height), (3, width)):
            if not statically_known_true(image.shape[dim] == side):
                image = image.index_select(dim, torch.arange(side, device=image.device))
        return image
    return image[..., :height, :width]


def _pad_in_graph(image: Tensor, mask: Tensor, multiple: int, min_side: int, mode: str) -> tuple[Tensor, Tensor]:
    """Do as `pad_to_multiple` by gathering rows and columns, without a branch: an exported graph takes any size.

    Sides that are known to be multiples are not padded again.
    """
    for dim in (2, 3):
        side = image.shape[dim]
        if statically_known_true(side % multiple == 0) and statically_known_true(side >= min_side):
            continue
        padded = (side + multiple - 1) // multiple * multiple
        if not statically_known_true(padded >= min_side):
            padded = torch.sym_max(padded, min_side)  # type: ignore[assignment]
        if mode == "symmetric":
            index = _mirrored(side, padded - side, image.device)
        else:
            index = torch.arange(padded, device=image.device).clamp(max=side - 1)
        image, mask = image.index_select(dim, index), mask.index_select(dim, index)
    return image, mask


def _mirrored(side: int, more: int, device: torch.device) -> Tensor:
    """Return (side + more,) indices that run forth and back over `side` pixels."""
    period = torch.full((), 2 * side, dtype=torch.int64, device=device)  # as a tensor: ONNX has no remainder by a free number
    index = torch.arange(side + more, device=device).remainder(period)
    return torch.minimum(index, 2 * side - 1 - index)


def complete_subsampled(complete: Callable[[Tensor, Tensor], Tensor], image: Tensor, mask: Tensor, size: int) -> Tensor:
    """Complete images of any size by a network for small square images.

    Resize the image to the nearest multiples of `size`, subsample it, complete each small image by itself, interleave the
    results and resize back. After the first resizing, a pixel is hole if any part of it was hole.

    Args:
        complete: image (1, 3, size, size) and mask (1, 1, size, size), 1 = hole, to the completed image.
        image: (B, 3, H, W) in [0, 1]; what its holes hold is ignored.
        mask: (B, 1, H, W), 1 = hole.
        size: side of the small images.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    image = torch.where(mask > 0.5, 1.0, image)  # the resizing would mix the content of holes into known pixels
    height, width = image.shape[-2:]
    rows, columns = (max(1, round(side / size)) for side in (height, width))
    nearest = (rows * size, columns * size)
    if nearest != (height, width):
        image = resize_bicubic(image, nearest)
        mask = interpolate(mask, nearest, mode="bilinear", antialias=True).gt(0).to(mask)
    images, masks = subsample(image, rows, columns), subsample(mask, rows, columns)
    completed = [complete(*pair) for pair in zip(images[:, None], masks[:, None], strict=True)]
    return resize_bicubic(interleave(torch.cat(completed), rows, columns), (height, width))


def resize_bicubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, H, W) in [0, 1] to (B, C, *size), with antialiasing and clamped to [0, 1]."""
    return interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)


def subsample(image: Tensor, rows: int, columns: int) -> Tensor:
    """Take (B, C, H, W) apart into small images (B rows columns, C, H / rows, W / columns).

    Number (b rows + i) columns + j holds the pixels (i + m rows, j + n columns) of image b.

    Args:
        image: H a multiple of `rows`, W of `columns`.
        rows: step between rows.
        columns: step between columns.
    """
    batch, channels, height, width = image.shape
    parts = image.reshape(batch, channels, height // rows, rows, width // columns, columns)
    return parts.permute(0, 3, 5, 1, 2, 4).flatten(0, 2)


def interleave(parts: Tensor, rows: int, columns: int) -> Tensor:
    """Invert `subsample`: (B rows columns, C, h, w) to (B, C, h rows, w columns)."""
    count, channels, height, width = parts.shape
    grouped = parts.reshape(count // (rows * columns), rows, columns, channels, height, width)
    return grouped.permute(0, 3, 4, 1, 5, 2).reshape(-1, channels, height * rows, width * columns)
