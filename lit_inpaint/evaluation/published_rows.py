"""Select the published tables that belong to an evaluation, and convert them to rows and notes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.metrics import Protocol
from lit_inpaint.published import PublishedTable, quality_tables, tables_of_dataset

MARK = "†"
"""Appended to the names of published methods."""


def select_tables(paper: str, names: Sequence[str] | None, dataset: str = "") -> tuple[PublishedTable, ...]:
    """Select tables of a paper to show with an evaluation.

    Args:
        paper: name of its file in `lit_inpaint.published`.
        names: of tables, or "none"; None: the tables of `dataset`, or the paper's first if it has none.
        dataset: class name of the evaluated data set.

    Raises:
        UserError: unknown name; lists the closest and all names.
    """
    tables = quality_tables(paper)
    if names is None:
        return tables_of_dataset(tables, dataset) or tables[:1]
    if list(names) == ["none"]:
        return ()
    known = [table.name for table in tables]
    for name in names:
        if name not in known:
            raise UserError(f"--published: {paper} has no table {name!r}{did_you_mean(name, [*known, 'none'], show_all=True)}")
    return tuple(table for table in tables if table.name in names)


def published_notes(protocol: Protocol, tables: Sequence[PublishedTable], distribution_metrics: Collection[str]) -> list[str]:
    """Notes on published tables: their data, and which of their metrics have no evaluated column and why.

    Args:
        protocol: with the evaluated metrics of single images.
        tables: of the protocol's paper, shown with the evaluation.
        distribution_metrics: names of the other evaluated metrics.
    """
    if not quality_tables(protocol.paper):
        return [f"No published scores for {protocol.paper} are on file."]
    metrics = {metric.name for metric in protocol.metrics}.union(distribution_metrics)
    notes = [
        f"{MARK} published, of other images and masks than evaluated here, so not ranked. {table.caption}" for table in tables
    ]
    reasons = {name: reason for table in tables for name, reason in table.not_comparable.items()}
    absent = dict.fromkeys(name for table in tables for name in table.units if name not in metrics and name not in reasons)
    if absent:
        notes.append(f"Published but not evaluated here: {', '.join(absent)}.")
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
