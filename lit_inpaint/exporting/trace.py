"""Trace a network with free batch, height and width where it allows them."""

from __future__ import annotations

import inspect
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

from lit_inpaint.exporting.inpainting_graph import InpaintingGraph, example_inputs

MIN_SIDES = (32, 72, 264)
"""Smallest sides, in pixels, that are tried for graphs with a free size: deep levels of a network need two rows and columns."""


@dataclass(frozen=True)
class InputShape:
    """Which dimensions of the inputs a graph leaves free.

    Attributes:
        free_batch: any number of images, else one.
        side: of the square images, in pixels; None: any height and width from `min_side` on.
        max_side: largest side of graphs with a free size; None: no limit.
        min_side: smallest side of graphs with a free size.
    """

    free_batch: bool
    side: int | None
    max_side: int | None = None
    min_side: int = MIN_SIDES[0]

    def describe(self) -> str:
        """Return a text for tables and reports, such as "any batch, 256x256"."""
        batch = "any batch" if self.free_batch else "1 image"
        if self.side is not None:
            return f"{batch}, {self.side}x{self.side}"
        return f"{batch}, any size from {self.min_side}{'' if self.max_side is None else f' to {self.max_side}'}"


def any_deep_size() -> AbstractContextManager[None]:
    """Let PyTorch trace and convert without the assumption that free sizes, also those of deep levels, are never 1."""
    patched: AbstractContextManager[None] = _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    return patched


def trace(graph: InpaintingGraph, shape: InputShape, with_edges: bool) -> ExportedProgram:
    """Trace by `torch.export`.

    Args:
        graph: the function.
        shape: the dimensions to leave free.
        with_edges: whether the graph has an input for edges.

    Raises:
        Exception: the network does not allow this shape; tracing fails with exceptions of many classes.
    """
    limit = shape.max_side or 2**16
    sides = (max(203, shape.min_side + 67), max(141, shape.min_side + 13))  # no multiples of anything, so that both are padded
    height, width = (min(sides[0], limit - 1), min(sides[1], limit - 3)) if shape.side is None else (shape.side, shape.side)
    inputs = {name: value[: 3 if shape.free_batch else 1] for name, value in example_inputs(height, width, with_edges).items()}
    free: dict[int, Any] = {0: Dim("batch", min=1)} if shape.free_batch else {}
    if shape.side is None:
        free |= {
            2: Dim("height", min=shape.min_side, max=shape.max_side),
            3: Dim("width", min=shape.min_side, max=shape.max_side),
        }
    with warnings.catch_warnings(), torch.no_grad(), any_deep_size():
        warnings.simplefilter("ignore")
        return torch.export.export(
            graph, tuple(inputs.values()), dynamic_shapes=dict.fromkeys(inputs, free), **_conditions_at_run_time()
        )


def _conditions_at_run_time() -> dict[str, Any]:
    """Return the option that checks conditions of free sizes when a graph runs; PyTorch has it from 2.9 on."""
    name = "prefer_deferred_runtime_asserts_over_guards"
    return {name: True} if name in inspect.signature(torch.export.export).parameters else {}
