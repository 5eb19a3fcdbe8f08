"""Tables: methods scored on the same samples under one protocol, printed and kept as rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from lit_inpaint import drawing
from lit_inpaint.metrics import Protocol, Row, Tally, rows, score
from lit_inpaint.types import Batch, as_floats, composite

Method = Callable[[Tensor, Tensor], Tensor]
"""Image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the completed image or a raw prediction of it."""


@torch.no_grad()
def evaluate(methods: Mapping[str, Method], loader: DataLoader[Any], protocol: Protocol, device: torch.device) -> list[Row]:
    """Score every method on every sample of `loader`.

    Args:
        methods: what fills the holes, by the name its rows carry; a network must already be on `device`.
        loader: batches of complete images and their masks.
        protocol: what is measured.
        device: where batches go.

    Returns:
        Rows of all methods, in their order; `bucket` is a range of damage, "outside" or "all".
    """
    tallies = {name: Tally(protocol).to(device) for name in methods}
    every = 0.1 if sys.stderr.isatty() else 10.0  # seconds; a log file is not flooded
    for batch in tqdm(loader, desc="evaluation", unit="batch", leave=False, dynamic_ncols=True, mininterval=every, delay=2):
        image, mask = _on(batch, device)
        for name, method in methods.items():
            tallies[name].update(score(protocol, image, method(image, mask), mask), mask.mean(dim=(1, 2, 3)))
    return [row for name, tally in tallies.items() for row in rows(name, protocol, tally.compute())]


@torch.no_grad()
def comparison_grid(
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
    found, position = list[drawing.Row](), 0
    wanted = drawing.spread(len(cast(Any, loader.sampler)), count)
    for batch in loader:
        here = [place - position for place in wanted if position <= place < position + len(batch["name"])]
        position += len(batch["name"])
        if not here:
            continue
        image, mask = (part[here] for part in _on(batch, device))
        filled = [composite(image, method(image, mask).clamp(0, 1), mask).cpu() for method in methods.values()]
        columns = [drawing.show_holes(image, mask).cpu(), *filled, image.cpu()]
        names = [batch["name"][place].rpartition("/")[2] for place in here]
        for number, name in enumerate(names):
            label = f"{name}\nhole {float(mask[number].mean()):.0%}"
            found.append(drawing.Row(label, [column[number] for column in columns]))
    return drawing.draw_grid(found, ["masked input", *methods, "truth"], title)


def _on(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Image and mask of a batch, on `device`, as floats."""
    moved = as_floats({**batch, "image": batch["image"].to(device), "mask": batch["mask"].to(device)})
    return moved["image"], moved["mask"]


def print_table(found: Sequence[Row], protocol: Protocol, title: str) -> None:
    """Print rows as damage bucket x method x measure, the best of each bucket in bold and marked with a star."""
    values = {(row["bucket"], row["method"], row["metric"]): row["value"] for row in found}
    counts = {row["bucket"]: row["n"] for row in reversed(found)}
    methods = list(dict.fromkeys(row["method"] for row in found))
    table = Table(title=title, title_justify="left", caption=protocol.description, caption_justify="left")
    table.add_column("damage")
    table.add_column("n", justify="right")
    table.add_column("method")
    for measure in protocol.measures:
        table.add_column(f"{measure.name.upper()}{' ' + measure.unit if measure.unit else ''}", justify="right")
    for bucket in protocol.buckets:
        if not counts.get(bucket.label):
            table.add_row(bucket.label, "0", "no samples")
        for number, method in enumerate(methods if counts.get(bucket.label) else []):
            cells = []
            for measure in protocol.measures:
                column = {name: values[bucket.label, name, measure.name] for name in methods}
                cells.append(_cell(column, method, measure.higher_is_better))
            head = [bucket.label, str(counts[bucket.label])] if number == 0 else ["", ""]
            table.add_row(*head, method, *cells, end_section=number == len(methods) - 1)
    console = Console()
    if not console.is_terminal:  # a log file has no width to keep to
        console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)


def comparison(found: Sequence[Row], protocol: Protocol, method: str, measure: str = "psnr") -> list[str]:
    """In words, for each other method: where `method` is ahead of it by `measure`, where behind, and where both are level."""
    sign = 1 if next(m for m in protocol.measures if m.name == measure).higher_is_better else -1
    values = {(row["bucket"], row["method"]): row["value"] for row in found if row["metric"] == measure}
    lines = []
    for other in dict.fromkeys(row["method"] for row in found if row["method"] != method):
        places: dict[str, list[str]] = {"ahead": [], "level": [], "behind": []}
        for bucket in protocol.buckets:
            ours, theirs = values.get((bucket.label, method)), values.get((bucket.label, other))
            if ours is not None and theirs is not None:
                lead = sign * (ours - theirs)
                places["ahead" if lead > 0 else "behind" if lead < 0 else "level"].append(bucket.label)
        said = [f"{word} at {', '.join(labels)}" for word, labels in places.items() if labels]
        if not places["ahead"]:
            said.insert(0, "nowhere ahead")
        lines.append(f"{method} against {other} by {measure.upper()}: {'; '.join(said)}")
    return lines


def _cell(column: Mapping[str, float | None], method: str, higher_is_better: bool) -> str:
    value = column[method]
    if value is None:
        return "-"
    known = [other for other in column.values() if other is not None]
    best = max(known) if higher_is_better else min(known)
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"
    return f"[bold]{text}*[/bold]" if value == best and len(column) > 1 else text
