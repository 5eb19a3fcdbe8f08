"""Select the published tables that belong to an evaluation, and convert them to rows and notes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, cast

from lit_inpaint import masks
from lit_inpaint.data import InpaintingData, NativeSize, Resize, ResizedCenterCrop
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.masks import MaskSource, RandomFromFolder
from lit_inpaint.published import PublishedTable, quality_tables, tables
from lit_inpaint.settings import plain

MARK = "†"
"""Appended to the names of published methods."""


class Selection(NamedTuple):
    """Published tables to show with an evaluation, and lines on them and on those that are not shown."""

    tables: tuple[PublishedTable, ...]
    notes: list[str]


def check_table_names(names: Sequence[str] | None) -> None:
    """Check the values of `--published` before any file is read.

    Raises:
        UserError: no paper has such a table; lists the closest and all names.
    """
    known = [table.name for table in tables() if table.dataset is not None]
    for name in names or ():
        if name not in (*known, "none"):
            raise UserError(f"--published: there is no table {name!r}{did_you_mean(name, [*known, 'none'], show_all=True)}")


def select_tables(paper: str, names: Sequence[str] | None, data: InpaintingData, split: str) -> Selection:
    """Select the published tables of a paper to show with an evaluation.

    Args:
        paper: name of its file in `lit_inpaint.published`.
        names: of tables, which are shown whatever their data; or "none". None: the tables of the same data set, masks and size.
        data: the evaluated data, set up.
        split: the evaluated split, "val" or "test".

    Raises:
        UserError: the paper has no such table; lists the closest and all names.
    """
    candidates = quality_tables(paper)
    if names is not None and list(names) == ["none"]:
        return Selection((), [])
    known = [table.name for table in candidates]
    for name in names or ():
        if name not in known:
            raise UserError(f"--published: {paper} has no table {name!r}{did_you_mean(name, [*known, 'none'], show_all=True)}")
    if not candidates:
        return Selection((), [f"No published scores for {paper} are on file."])
    differing = {table.name: differences(table, data, split) for table in candidates}
    shown = tuple(table for table in candidates if (table.name in names if names is not None else not differing[table.name]))
    notes = [_note_on(table, differing[table.name], data) for table in shown]
    if names is None and len(shown) < len(candidates):
        notes.append(_note_on_absent([table for table in candidates if table not in shown], differing, data))
    return Selection(shown, notes)


def differences(table: PublishedTable, data: InpaintingData, split: str) -> list[str]:
    """What a published table has been measured on that the evaluated data is not; empty where both agree.

    Args:
        table: of quality metrics.
        data: the evaluated data, set up.
        split: the evaluated split, "val" or "test".
    """
    found = []
    if type(data).__name__ != table.data_class:
        found.append(f"other images ({table.dataset})")
    elif data.fallback:
        found.append(f"other images ({table.dataset}; here {data.fallback})")
    elif other := [f"{key} {getattr(data, key)}" for key, value in table.data_options.items() if getattr(data, key) != value]:
        found.append(f"other images ({table.dataset}; here {', '.join(other)})")
    elif split != "test":
        found.append(f"other images ({table.dataset}; here the {split} split)")
    if _size(data) != table.size:
        found.append(f"another size ({table.size_text})")
    if not any(_same_sources(data.val_masks, sources) for sources in table.mask_sources):
        found.append(f"other masks ({table.masks})")
    return found


def _size(data: InpaintingData) -> int | str | None:
    """The size of evaluation images, comparable with a table's; None where it is neither the images' own nor a whole square."""
    if isinstance(data.val_transform, NativeSize):
        return "native" if data.val_transform == NativeSize() else None
    return data.size if isinstance(data.val_transform, ResizedCenterCrop | Resize) and data.val_crops == 1 else None


def _same_sources(sources: Sequence[MaskSource], published: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the two contain the same sources, in any order."""
    rest = list(sources)
    for options in published:
        match = next((source for source in rest if _same_source(source, options)), None)
        if match is None:
            return False
        rest.remove(match)
    return not rest


def _same_source(source: MaskSource, options: Mapping[str, Any]) -> bool:
    """Whether a source has the class and the options of a published table's `mask_sources`."""
    if type(source) is not getattr(masks, options["class"]):
        return False
    for field in fields(cast(Any, source)):
        value = getattr(source, field.name)
        if field.name == "sources":
            same = _same_sources(value, options["sources"])
        elif field.name in options:
            same = plain(value) == options[field.name]
        else:
            same = isinstance(source, RandomFromFolder) or value == field.default
        if not same:
            return False
    return True


def _note_on(table: PublishedTable, differing: Sequence[str], data: InpaintingData) -> str:
    """A line below a table that shows published rows."""
    what = f"but of {', '.join(differing)}" if differing else "of the same data set, masks and size"
    folders = dict.fromkeys(str(source.root) for source in data.val_masks if isinstance(source, RandomFromFolder))
    files = f" The files in {', '.join(folders)} are taken for {table.masks}." if folders and not differing else ""
    note = f" {table.note}" if table.note else ""
    return f"{MARK} published, {what}; not ranked. {table.caption}.{files}{note}"


def _note_on_absent(absent: Sequence[PublishedTable], differing: Mapping[str, Sequence[str]], data: InpaintingData) -> str:
    """A line that says why published tables are not shown."""
    related = [table for table in absent if table.data_class == type(data).__name__]
    if related:
        reasons = "; ".join(f"{table.name}, of {', '.join(differing[table.name])}" for table in related)
    else:
        reasons = "; ".join(f"{table.name}, of {table.dataset}" for table in absent)
    return f"Published but not shown beside these rows: {reasons} (--published NAME shows a table all the same)."


def metric_notes(selected: Sequence[PublishedTable], metrics: Collection[str], columns: Collection[str] = ()) -> list[str]:
    """Notes on published metrics that have no evaluated column, and why.

    Args:
        selected: the tables that are shown.
        metrics: names of all evaluated metrics.
        columns: headings of the distribution metrics: `fid_60` is `fid` of 60 images, too few for the plain name.
    """
    reasons = {name: reason for table in selected for name, reason in table.not_comparable.items()}
    absent = dict.fromkeys(name for table in selected for name in table.units if name not in metrics and name not in reasons)
    notes = [f"Published but not evaluated here: {', '.join(absent)}."] if absent else []
    notes += [
        f"Published {name} is of {table.n:,} images, and so not shown beside {column}."
        for table in selected
        for name in table.units
        for column in columns
        if name in metrics and table.n is not None and column.rpartition("_")[0] == name and column != f"{name}_{table.n}"
    ]
    return notes + [f"Published as {name}: {reason}, so no column here is comparable." for name, reason in reasons.items()]


def published_rows(table: PublishedTable) -> list[dict[str, object]]:
    """A published table as JSON rows; their key `source` distinguishes them from evaluated ones."""
    shared = {"table": table.name, "source": table.source, "dataset": table.dataset, "masks": table.masks, "n": table.n}
    return [
        {"method": method, "bucket": bucket, "metric": metric, "value": value, "unit": table.units[metric], **shared}
        for method, buckets in table.figures.items()
        for bucket, figures in buckets.items()
        for metric, value in figures.items()
    ]
