"""Scores as the rows of tables and JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from lit_inpaint.metrics.protocols import Protocol
from lit_inpaint.metrics.tally import Mean


class Row(TypedDict):
    """One number of a table.

    Keys:
        method: what made the predictions.
        protocol: name of the protocol.
        bucket: label of the range of damage, such as "10-20%"; "outside" or "all".
        metric: name of the measure.
        value: the mean, None where n is 0.
        n: samples in the mean.
    """

    method: str
    protocol: str
    bucket: str
    metric: str
    value: float | None
    n: int


def rows(method: str, protocol: Protocol, means: Mapping[tuple[str, str], Mean]) -> list[Row]:
    """What `Tally.compute` returned, one row per bucket and measure, ready for JSON."""
    return [
        Row(method=method, protocol=protocol.name, bucket=bucket, metric=metric, value=mean.value, n=mean.n)
        for (bucket, metric), mean in means.items()
    ]
