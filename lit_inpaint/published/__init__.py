"""The tables that the papers print, as data: a file for each paper, named like its module in `lit_inpaint.papers`.

A file holds `{"tables": [...]}`. Each table says where it stands, what it was measured on, and in which units; its figures are
method -> range of damage -> measure -> number, with the names that `evaluate` and `cost` use, so ours can stand beside them.
Numbers stand as printed: nothing is converted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Figure(NamedTuple):
    """One published number.

    Attributes:
        value: as printed.
        unit: what it is counted in; empty for a pure number.
        source: paper and table.
    """

    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class PublishedTable:
    """One table of a paper.

    Attributes:
        name: ours, unique.
        source: paper and table.
        dataset: what the methods were tested on; None where that does not matter, as for parameters.
        size: side of the test images in pixels.
        n: number of test images.
        masks: the test masks.
        note: what a reader must know before comparing.
        units: by measure.
        figures: method -> bucket ("10-20%", or "all") -> measure -> number.
        unlike: by measure, why its figures stand beside none of ours.
        training: what seconds of an epoch are of: `images` in an epoch, of `size` pixels a side, `batch` of them in a step.
    """

    name: str
    source: str
    dataset: str | None
    size: int | None
    n: int | None
    masks: str | None
    note: str
    units: Mapping[str, str]
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]
    unlike: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, int] | None = None

    @property
    def caption(self) -> str:
        """What the figures are of, in a line: source, data set, how many images of which size, masks."""
        count = f"n = {self.n:,}" if self.n else "n is not stated"
        size = f", {self.size} px" if self.size else ""
        return f"{self.source}: {self.dataset or 'no data set'}; {count}{size}; masks: {self.masks or 'none'}"

    def figure(self, method: str, measure: str, bucket: str = "all") -> Figure | None:
        """One number, or None where the table does not have it."""
        value = self.figures.get(method, {}).get(bucket, {}).get(measure)
        return None if value is None else Figure(value, self.units[measure], self.source)


@cache
def tables(paper: str | None = None) -> tuple[PublishedTable, ...]:
    """The tables of one paper, by the name of its module ("lpi_net"), empty where none are kept; or of all papers."""
    found = sorted((file for file in files(__name__).iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return tuple(
        PublishedTable(**table)
        for file in found
        if paper is None or file.name == f"{paper}.json"
        for table in json.loads(file.read_text(encoding="utf-8"))["tables"]
    )


def quality_tables(paper: str) -> tuple[PublishedTable, ...]:
    """The tables of one paper that say how well holes are filled, not what it costs."""
    return tuple(table for table in tables(paper) if table.dataset is not None)


def of_data_set(found: Sequence[PublishedTable], name: str) -> tuple[PublishedTable, ...]:
    """Those of `found` whose test images are of the data set that the class `name` of `lit_inpaint.data` reads."""

    def plain(text: str) -> str:
        return "".join(letter for letter in text.lower() if letter.isalnum())

    return tuple(table for table in found if plain((table.dataset or "").split(",")[0].split(" ")[0]) == plain(name))


def cost_figure(paper: str, method: str, measure: str) -> Figure | None:
    """What a paper's own tables say that one of its variants costs.

    Args:
        paper: name of its module in `lit_inpaint.papers`.
        method: name of the variant in the tables, a key of the paper's `published_as`.
        measure: as the rows of `python -m lit_inpaint.cost` call it.
    """
    return next((figure for table in tables(paper) if (figure := table.figure(method, measure)) is not None), None)
