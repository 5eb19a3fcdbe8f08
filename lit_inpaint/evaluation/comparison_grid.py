"""Draw the completions of several methods for the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch.utils.data import DataLoader

from lit_inpaint.evaluation.evaluator import Method, complete_batch, to_device
from lit_inpaint.storage.output_files import write_output
from lit_inpaint.types import composite
from lit_inpaint.visualization import grids


def write_comparison_grid(
    path: Path, methods: Mapping[str, Method], loader: DataLoader[Any], num_rows: int, title: str, device: torch.device
) -> None:
    """Draw the grid into a PNG file, and print its path; the other arguments as in `draw_comparison_grid`.

    Raises:
        UserError: the file cannot be written.
    """
    image = draw_comparison_grid(methods, loader, num_rows, title, device)
    with write_output(path) as part:
        image.save(part, format="PNG")
    print(f"Grid in {path}")


@torch.no_grad()
def draw_comparison_grid(
    methods: Mapping[str, Method], loader: DataLoader[Any], num_rows: int, title: str, device: torch.device
) -> Image.Image:
    """Draw a row for each sample and a column for each method, between the masked input and the target.

    Args:
        methods: as in `evaluate`.
        loader: as in `evaluate`; the samples are evenly spaced over it.
        num_rows: number of samples.
        title: above the grid.
        device: of the batches.
    """
    rows, start = list[grids.GridRow](), 0
    shown = grids.evenly_spaced(len(cast(Any, loader.sampler)), num_rows)
    for batch in loader:
        indices = [index - start for index in shown if start <= index < start + len(batch["name"])]
        start += len(batch["name"])
        if not indices:
            continue
        image, mask = (part[indices] for part in to_device(batch, device))
        names = [batch["name"][index] for index in indices]
        predictions = (complete_batch(method, names, image, mask) for method in methods.values())
        completed = [composite(image, prediction.clamp(0, 1), mask).cpu() for prediction in predictions]
        columns = [grids.overlay_mask(image, mask).cpu(), *completed, image.cpu()]
        for row, index in enumerate(indices):
            label = f"{batch['name'][index].rpartition('/')[2]}\nmask ratio {float(mask[row].mean()):.0%}"
            rows.append(grids.GridRow(label, [column[row] for column in columns]))
    return grids.draw_grid(rows, ["masked input", *methods, "target"], title)
