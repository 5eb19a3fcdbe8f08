"""Pictures of a report: sample grids, the cells cut out of them, and validation samples completed anew."""

from __future__ import annotations

import base64
import heapq
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lit_inpaint.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

    from lit_inpaint.engine.inpainter import Inpainter

QUALITY = 85
"""Of WebP, 0 to 100."""
_PAGE = (0xF2, 0xF2, 0xF2)  # the paper that `drawing.draw_grid` lays its cells on
_LEAST_CELL = 32
_COLUMNS = 4


class Example(NamedTuple):
    """One sample of the validation set.

    Attributes:
        name: whose it is.
        figures: measures by name.
        masked: with white holes.
        output: raw, clamped.
        completed: the composite.
        truth: the complete image.
    """

    name: str
    figures: dict[str, float]
    masked: Image.Image
    output: Image.Image
    completed: Image.Image
    truth: Image.Image


def data_uri(picture: Image.Image, quality: int = QUALITY) -> str:
    """The picture as WebP, to stand in the page itself."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def read_picture(path: Path) -> Image.Image:
    """An RGB picture, read to its end.

    Raises:
        UserError: it cannot be.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise UserError(f"cannot read the sample grid {path} ({error}); delete it to have a report without it") from None


def cut_grid(page: Image.Image) -> list[Example]:
    """The samples of a grid as `callbacks.SampleGrids` draws it, found by the empty paper between its cells.

    The figures are measured on the pictures as shown: exact where these were enlarged by whole multiples, as small ones are.
    Images that are not square, or a page of another layout, give none.
    """
    pixels = np.asarray(page)
    inked = (pixels != np.array(_PAGE, dtype=np.uint8)).any(axis=-1)
    columns = _bands(inked.any(axis=0))[-_COLUMNS:]
    if len(columns) < _COLUMNS:
        return []
    side = columns[0][1] - columns[0][0]
    rows = [band for band in _bands(inked[:, columns[0][0] :].any(axis=1)) if band[1] - band[0] == side]
    if side < _LEAST_CELL or any(right - left != side for left, right in columns):
        return []
    found = []
    for number, (top, bottom) in enumerate(rows, start=1):
        cells = [page.crop((left, top, right, bottom)) for left, right in columns]
        figures = {"psnr": _psnr(np.asarray(cells[2]), np.asarray(cells[3]))}
        found.append(Example(f"row {number} of the grid", figures, *cells))
    return found


def _bands(used: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Beginnings and ends of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], used, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def worst_and_best(found: Sequence[Example], count: int) -> tuple[list[Example], list[Example]]:
    """Up to `count` examples from each end by PSNR, the extreme ones first; none is in both."""
    ordered = sorted(found, key=lambda example: example.figures["psnr"])
    count = min(count, len(ordered) // 2)
    return ordered[:count], ordered[len(ordered) - count :][::-1]


def evaluate_examples(
    model: Inpainter, loader: DataLoader[Any], count: int, device: torch.device
) -> tuple[list[Example], list[Example], int]:
    """Complete all of a validation set and keep the extremes by PSNR of the composite.

    Args:
        model: on `device`, in evaluation mode.
        loader: batches of complete images and their masks.
        count: examples to keep at each end.
        device: where batches go.

    Returns:
        The worst and the best, and how many there were.
    """
    import torch

    from lit_inpaint.metrics import LPI, score
    from lit_inpaint.types import as_floats, composite
    from lit_inpaint.visualization.grids import overlay_mask

    low, high = list[tuple[float, int, Example]](), list[tuple[float, int, Example]]()
    total = 0
    with torch.no_grad():
        for given in loader:
            batch = as_floats({"image": given["image"].to(device), "mask": given["mask"].to(device), "name": given["name"]})
            image, mask = batch["image"], batch["mask"]
            output = model.predict(image, mask).float().clamp(0, 1)
            scores = {name: values.tolist() for name, values in score(LPI, image, output, mask).items()}
            whole, masked = composite(image, output, mask), overlay_mask(image, mask)
            for place, name in enumerate(batch["name"]):
                psnr = scores["psnr"][place]
                psnr = -math.inf if math.isnan(psnr) else psnr  # what is no number is the worst there can be
                total += 1
                bad = len(low) < count or -psnr > low[0][0]
                good = len(high) < count or psnr > high[0][0]
                if not (bad or good):
                    continue
                figures = {measure: values[place] for measure, values in scores.items()}
                figures["hole"] = float(mask[place].mean())
                pictures = (_picture(stack[place]) for stack in (masked, output, whole, image))
                example = Example(name, figures, *pictures)
                if bad:
                    _keep(low, (-psnr, total, example), count)
                if good:
                    _keep(high, (psnr, total, example), count)
    worst = [example for _, _, example in sorted(low, key=lambda item: (-item[0], item[1]))]
    taken = {number for _, number, _ in low}
    best = [example for _, number, example in sorted(high, key=lambda item: (-item[0], item[1])) if number not in taken]
    return worst, best, total


def _keep(heap: list[tuple[float, int, Example]], item: tuple[float, int, Example], count: int) -> None:
    heapq.heappush(heap, item) if len(heap) < count else heapq.heapreplace(heap, item)


def _picture(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.nan_to_num().mul(255).round().byte().cpu().permute(1, 2, 0).numpy())
