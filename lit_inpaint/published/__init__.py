"""Tables of the papers as data: a JSON file for each paper, named like its module in `lit_inpaint.papers`.

A file holds `{"tables": [...]}`. Each table has its source, data, masks and units. Its figures are method -> mask-ratio bucket
-> metric -> number, with the names of `evaluate` and `cost`. Numbers are as printed, without any conversion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple


class Figure(NamedTuple):
    """One published number.

    Attributes:
        value: as printed.
        unit: of the value; empty for a pure number.
        source: paper and table.
    """

    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class PublishedTable:
    """One table of a paper.

    Attributes:
        name: unique, chosen here.
        source: paper and table.
        dataset: of the test images; None for tables of costs.
        size: side of the test images in pixels; "native" for images in their original sizes.
        n: number of test images.
        masks: the test masks.
        note: on comparisons with other numbers.
        units: by metric.
        figures: method -> bucket ("10-20%", or "all") -> metric -> number.
        not_comparable: by metric, the reason why no metric of this package is comparable with it.
        training: the setting of epoch times: number of `images` in an epoch, their `size` in pixels, `batch` size.
        data_class: name of the data set's class in `lit_inpaint.data`; None for tables of costs.
        data_options: options of that class which select the test images.
        mask_sources: lists of mask sources that give the test masks, any one of which will do; empty where none does. A source
            is its class name in `lit_inpaint.masks` as `class`, and its options; others have their defaults. Files are not
            compared, so of a source that reads files only the options given here count.
        network_types: by method, the column of that name in a table of costs, as printed.
    """

    name: str
    source: str
    dataset: str | None
    size: int | Literal["native"] | None
    n: int | None
    masks: str | None
    note: str
    units: Mapping[str, str]
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, int] | None = None
    data_class: str | None = None
    data_options: Mapping[str, str] = field(default_factory=dict)
    mask_sources: Sequence[Sequence[Mapping[str, Any]]] = ()
    network_types: Mapping[str, str] = field(default_factory=dict)

    @property
    def caption(self) -> str:
        """Source, data set, number and size of the images, and masks, in one line."""
        count = f"n = {self.n:,}" if self.n else "n is not stated"
        return f"{self.source}: {self.dataset or 'no data set'}; {count}, {self.size_text}; masks: {self.masks or 'none'}"

    @property
    def size_text(self) -> str:
        """The size of the test images as `Transform.describe` puts it."""
        return "original sizes" if self.size == "native" else f"{self.size} px"

    def figure(self, method: str, metric: str, bucket: str = "all") -> Figure | None:
        """One number, or None if the table does not contain it."""
        value = self.figures.get(method, {}).get(bucket, {}).get(metric)
        return None if value is None else Figure(value, self.units[metric], self.source)


@cache
def tables(paper: str | None = None) -> tuple[PublishedTable, ...]:
    """Tables of one paper, by the name of its module ("lpi_net"), empty if it has no file; of all papers for None."""
    json_files = sorted((file for file in files(__name__).iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return tuple(
        PublishedTable(**table)
        for file in json_files
        if paper is None or file.name == f"{paper}.json"
        for table in json.loads(file.read_text(encoding="utf-8"))["tables"]
    )


def quality_tables(paper: str) -> tuple[PublishedTable, ...]:
    """Tables of one paper with quality metrics, without those of costs."""
    return tuple(table for table in tables(paper) if table.dataset is not None)


def cost_figure(paper: str, method: str, metric: str) -> Figure | None:
    """Look up a cost of a variant in its paper's own tables.

    Args:
        paper: name of its module in `lit_inpaint.papers`.
        method: name of the variant in the tables, a key of the paper's `published_as`.
        metric: as in the rows of `python -m lit_inpaint.cost`.
    """
    return next((figure for table in tables(paper) if (figure := table.figure(method, metric)) is not None), None)
