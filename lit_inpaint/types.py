"""Define batches, predictions and loss terms, with their value range and mask polarity.

Everywhere in `lit_inpaint`, images are RGB float tensors (B, 3, H, W) in [0, 1]. Masks are float tensors (B, 1, H, W) of
exactly 0 or 1, and **1 marks a hole**. A paper with another range or polarity converts inside its own `forward`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NotRequired, TypedDict

import torch
from numpy.typing import NDArray
from torch import Tensor

Terms = Mapping[str, Tensor | Callable[[], Tensor] | None]
"""Loss terms by name, each a scalar, not yet weighted. The names are the fields of the paper's `Weights`.

An expensive term may be a function instead. It is called only where its weight is not 0, so a warm-up stage may leave it out.
None is a term of a network that the current stage does not train.
"""


class Batch(TypedDict):
    """One batch of images with their holes.

    Keys:
        image: (B, 3, H, W) float in [0, 1], complete (the holes are not emptied).
        mask: (B, 1, H, W) float, exactly 0 or 1, 1 = hole.
        name: B strings that identify the samples in grids and tables.
        edges: (B, 1, H, W) float, exactly 0 or 1, 1 = edge: edges of the complete image, holes included. Only in training
            batches of papers with an `edge_detector`, and even these compute them where they are missing.
    """

    image: Tensor
    mask: Tensor
    name: list[str]
    edges: NotRequired[Tensor]


@dataclass(frozen=True)
class Prediction:
    """Output of a generator for a batch.

    Attributes:
        image: (B, 3, H, W) raw output on the [0, 1] scale; neither clamped nor composited.
        stages: further images for the losses and the sample grids (coarse, low resolution, edges), by name.
    """

    image: Tensor
    stages: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    def detach(self) -> Prediction:
        """Return the same images without their graph, for the discriminator's update."""
        return Prediction(self.image.detach(), {name: image.detach() for name, image in self.stages.items()})


def as_floats(batch: Batch, dtype: torch.dtype = torch.float32) -> Batch:
    """Convert a batch of bytes to the floats of `Batch`, on its own device.

    Loaders deliver images as bytes (0 to 255), masks and edges as bytes (0 and 1): a quarter of the memory to stack, to send
    between processes, and to copy to a GPU. Floats stay as they are.

    Args:
        batch: of bytes or floats.
        dtype: of the floats.
    """
    image, mask = batch["image"], batch["mask"]
    if image.dtype == torch.uint8:
        image = image.to(dtype, memory_format=torch.contiguous_format).div_(255)
    floats: Batch = {"image": image, "mask": mask.to(dtype) if mask.dtype == torch.uint8 else mask, "name": batch["name"]}
    if "edges" in batch:
        floats["edges"] = batch["edges"].to(dtype) if batch["edges"].dtype == torch.uint8 else batch["edges"]
    return floats


def complete_inputs(image: Tensor | NDArray[Any], mask: Tensor | NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Convert what a caller of `Inpainter.complete` has to the contract, and check it.

    Args:
        image: (B, 3, H, W) or (3, H, W), float in [0, 1] or uint8 in [0, 255].
        mask: (B, 1, H, W), (1, 1, H, W) for all images, (B, H, W), (1, H, W) or (H, W); bool, or exactly 0 and 1 (uint8 also 0
            and 255). 1 or True is a hole.

    Returns:
        `image` (B, 3, H, W) float in [0, 1] and `mask` (B, 1, H, W) of the same type, exactly 0 or 1.

    Raises:
        ValueError: names the argument, what it is, and what was expected.
    """
    image, mask = (torch.as_tensor(value) for value in (image, mask))
    if image.ndim not in (3, 4) or image.shape[-3] != 3:
        raise ValueError(f"image is {tuple(image.shape)}; expected (B, 3, H, W) or (3, H, W), channels before rows and columns")
    image = image if image.ndim == 4 else image[None]
    if image.dtype == torch.uint8:
        image = image.float() / 255
    if not image.is_floating_point():
        raise ValueError(f"image is {image.dtype}; expected float in [0, 1] or uint8 in [0, 255]")
    low, high = (float(value) for value in image.aminmax())
    if not (low >= -1e-4 and high <= 1 + 1e-4):  # also false for NaN
        remedy = (
            "(image + 1) / 2" if -1.001 <= low < 0 and high <= 1.001 else "image / 255" if 1 < high <= 255 <= 255 + low else ""
        )
        raise ValueError(f"image spans [{low:.3g}, {high:.3g}]; expected [0, 1]" + (f": pass {remedy}" if remedy else ""))
    mask = mask[:, None] if mask.ndim == 3 else mask[None, None] if mask.ndim == 2 else mask
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.shape[2:] != image.shape[2:] or mask.shape[0] not in (1, image.shape[0]):
        raise ValueError(
            f"mask is {tuple(mask.shape)} beside an image of {tuple(image.shape)}; expected (B, 1, H, W) or (H, W)"
        )
    if mask.dtype == torch.uint8 and bool((mask > 1).any()):
        if not bool(((mask == 0) | (mask == 255)).all()):
            raise ValueError("mask has gray values; expected 0 and 255, or 0 and 1: threshold it, such as mask > 127")
        mask = mask > 127
    mask = mask.to(image)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(f"mask spans [{float(mask.min()):.3g}, {float(mask.max()):.3g}]; expected exactly 0 and 1, 1 = hole")
    return image, mask.expand(image.shape[0], -1, -1, -1)


def complete_edges(edges: Tensor | NDArray[Any], image: Tensor) -> Tensor:
    """Convert an edge map that a caller of `Inpainter.complete` has, and check it.

    Args:
        edges: (B, 1, H, W), (1, 1, H, W) for all images, (B, H, W) or (H, W); bool, float in [0, 1], or uint8 in [0, 255]. 1,
            True or 255 is an edge.
        image: (B, 3, H, W), from `complete_inputs`.

    Returns:
        (B, 1, H, W) in [0, 1], of the type of `image`.

    Raises:
        ValueError: another shape or value range; the message names the expected one.
    """
    edges = torch.as_tensor(edges)
    edges = edges[:, None] if edges.ndim == 3 else edges[None, None] if edges.ndim == 2 else edges
    if edges.ndim != 4 or edges.shape[1] != 1 or edges.shape[2:] != image.shape[2:] or edges.shape[0] not in (1, len(image)):
        raise ValueError(
            f"edges are {tuple(edges.shape)} beside an image of {tuple(image.shape)}; expected (B, 1, H, W) or (H, W)"
        )
    if edges.dtype == torch.uint8 and bool((edges > 1).any()):
        edges = edges / 255
    edges = edges.to(image)
    low, high = (float(value) for value in edges.aminmax())
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise ValueError(f"edges span [{low:.3g}, {high:.3g}]; expected [0, 1], 1 = edge")
    return edges.expand(len(image), -1, -1, -1)


def composite(image: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
    """Combine the known pixels of `image` with the hole pixels of `prediction`.

    Selects instead of multiplying, so that a known pixel keeps its exact value even where the prediction is not finite.

    Args:
        image: (B, C, H, W) in [0, 1].
        prediction: (B, C, H, W).
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, C, H, W).
    """
    return torch.where(mask > 0.5, prediction, image)


def empty_holes(image: Tensor, mask: Tensor) -> Tensor:
    """Set the holes (`mask` = 1) of `image` (B, 3, H, W) to 0."""
    return image * (1 - mask)


def check_batch(batch: Batch) -> float:
    """Check a batch against `Batch` and return its mean mask ratio, in [0, 1].

    Raises:
        ValueError: naming the key, what was found and what was expected.
    """
    image, mask = batch["image"], batch["mask"]
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise ValueError(f"batch['image'] is {image.dtype} {tuple(image.shape)}, expected float (B, 3, H, W)")
    if mask.shape != (image.shape[0], 1, *image.shape[2:]) or not mask.is_floating_point():
        raise ValueError(
            f"batch['mask'] is {mask.dtype} {tuple(mask.shape)}, expected float (B, 1, H, W) beside an image of "
            f"{tuple(image.shape)}"
        )
    low, high = float(image.min()), float(image.max())
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails too
        raise ValueError(f"batch['image'] spans [{low:.3g}, {high:.3g}], expected [0, 1]")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("batch['mask'] holds values between 0 and 1; threshold it (1 = hole) before batching")
    if "edges" in batch and (
        batch["edges"].shape != mask.shape or not bool(((batch["edges"] == 0) | (batch["edges"] == 1)).all())
    ):
        raise ValueError(f"batch['edges'] is {tuple(batch['edges'].shape)}; expected {tuple(mask.shape)}, exactly 0 and 1")
    if len(batch["name"]) != image.shape[0]:
        raise ValueError(f"batch['name'] holds {len(batch['name'])} names for {image.shape[0]} images")
    return float(mask.mean())
