"""Sample grids of a run: choose some of them, and cut one into its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lit_inpaint.errors import UserError
from lit_inpaint.reporting.worst_and_best import Example
from lit_inpaint.storage.image_decode import UnreadableImageError, read_image

_BACKGROUND = (0xF2, 0xF2, 0xF2)  # between the cells of `visualization.grids.draw_grid`
_MIN_CELL = 32
_COLUMNS = 4  # masked input, output, composite, target; between the first two are stages of the prediction


class SampleGrids(NamedTuple):
    """(step, image) of the grids to show, and the number of grids on disk."""

    shown: Sequence[tuple[int, Image.Image]]
    total: int


def choose_grids(samples: Sequence[tuple[int, Path]], count: int) -> SampleGrids:
    """Read at most `count` grids, evenly spaced, the last one always."""
    indices = np.unique(np.linspace(len(samples) - 1, 0, min(count, len(samples))).round().astype(int))
    return SampleGrids([(samples[index][0], read_grid(samples[index][1])) for index in indices], len(samples))


def read_grid(path: Path) -> Image.Image:
    """Read and decode an RGB image.

    Raises:
        UserError: the file is broken.
    """
    try:
        return Image.fromarray(read_image(path).permute(1, 2, 0).numpy())
    except UnreadableImageError as error:
        raise UserError(f"{error}; delete this sample grid to have a report without it") from None


def cut_grid(grid: Image.Image, scores: Sequence[Mapping[str, str | float]]) -> list[Example]:
    """Cut a grid drawn by `callbacks.SampleGrids` into its samples, along the background between its cells.

    Args:
        grid: the whole image.
        scores: of its rows, from `visualization.grids.read_scores`: the cells are of another size than the images.

    Returns:
        One example for each row; none if cells are not square, the layout is another, or the rows have no scores.
    """
    pixels = np.asarray(grid)
    drawn = (pixels != np.array(_BACKGROUND, dtype=np.uint8)).any(axis=-1)
    spans = _spans(drawn.any(axis=0))
    side = spans[-1][1] - spans[-1][0] if spans else 0
    columns = [(left, right) for left, right in spans if right - left == side]  # no letters of the labels, no smaller stages
    if side < _MIN_CELL or len(columns) < _COLUMNS:
        return []
    columns = [columns[0], *columns[1 - _COLUMNS :]]
    rows = [span for span in _spans(drawn[:, columns[0][0] :].any(axis=1)) if span[1] - span[0] == side]
    if len(rows) != len(scores):
        return []
    examples = []
    for (top, bottom), row in zip(rows, scores, strict=True):
        cells = [grid.crop((left, top, right, bottom)) for left, right in columns]
        examples.append(Example(str(row["name"]), {name: float(row[name]) for name in ("psnr", "mask_ratio")}, *cells))
    return examples


def _spans(used: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(start, end) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], used, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
