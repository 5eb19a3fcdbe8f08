"""Draw the outputs of several methods for the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from PIL import Image
from torch.utils.data import DataLoader

from lit_inpaint.evaluation.evaluator import Method, to_device
from lit_inpaint.types import composite
from lit_inpaint.visualization import grids


@torch.no_grad()
def draw_comparison_grid(
    methods: Mapping[str, Method], loader: DataLoader[Any], count: int, title: str, device: torch.device
) -> Image.Image:
    """A picture of what every method makes of the same samples: a row for each sample, a column for each method.

    Args:
        methods: as in `evaluate`.
        loader: as there; the samples are spread evenly over it.
        count: rows.
        title: a line above all.
        device: where batches go.
    """
    found, position = list[grids.GridRow](), 0
    wanted = grids.evenly_spaced(len(cast(Any, loader.sampler)), count)
    for batch in loader:
        here = [place - position for place in wanted if position <= place < position + len(batch["name"])]
        position += len(batch["name"])
        if not here:
            continue
        image, mask = (part[here] for part in to_device(batch, device))
        filled = [composite(image, method(image, mask).clamp(0, 1), mask).cpu() for method in methods.values()]
        columns = [grids.overlay_mask(image, mask).cpu(), *filled, image.cpu()]
        names = [batch["name"][place].rpartition("/")[2] for place in here]
        for number, name in enumerate(names):
            label = f"{name}\nmask ratio {float(mask[number].mean()):.0%}"
            found.append(grids.GridRow(label, [column[number] for column in columns]))
    return grids.draw_grid(found, ["masked input", *methods, "target"], title)
