"""Trace a network with free batch, height and width where it allows them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from lit_inpaint.exporting.inpainting_graph import InpaintingGraph, example_inputs

MIN_SIDE = 32
"""Smallest side, in pixels, that graphs with a free size take."""


@dataclass(frozen=True)
class InputShape:
    """Which dimensions of the inputs a graph leaves free.

    Attributes:
        free_batch: any number of images, else one.
        side: of the square images, in pixels; None: any height and width from `MIN_SIDE` on.
        max_side: largest side of graphs with a free size; None: no limit.
    """

    free_batch: bool
    side: int | None
    max_side: int | None = None

    def describe(self) -> str:
        """Return a text for tables and reports, such as "any batch, 256x256"."""
        batch = "any batch" if self.free_batch else "1 image"
        if self.side is not None:
            return f"{batch}, {self.side}x{self.side}"
        return f"{batch}, any size from {MIN_SIDE}{'' if self.max_side is None else f' to {self.max_side}'}"


def trace(graph: InpaintingGraph, shape: InputShape, with_edges: bool) -> ExportedProgram:
    """Trace by `torch.export`.

    Args:
        graph: the function.
        shape: the dimensions to leave free.
        with_edges: whether the graph has an input for edges.

    Raises:
        Exception: the network does not allow this shape; tracing fails with exceptions of many classes.
    """
    limit = shape.max_side or 8 * MIN_SIDE
    height, width = (shape.side,) * 2 if shape.side is not None else (min(203, limit - 1), min(141, limit - 3))  # no multiples
    inputs = {name: value[: 3 if shape.free_batch else 1] for name, value in example_inputs(height, width, with_edges).items()}
    free: dict[int, Any] = {0: Dim("batch", min=1)} if shape.free_batch else {}
    if shape.side is None:
        free |= {2: Dim("height", min=MIN_SIDE, max=shape.max_side), 3: Dim("width", min=MIN_SIDE, max=shape.max_side)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(
            graph,
            tuple(inputs.values()),
            dynamic_shapes=dict.fromkeys(inputs, free),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
