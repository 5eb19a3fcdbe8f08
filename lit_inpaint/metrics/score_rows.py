"""Scores as the rows of tables and JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from lit_inpaint.metrics.bucketed_means import Mean
from lit_inpaint.metrics.paper_protocols import Protocol


class ScoreRow(TypedDict):
    """One number of a table.

    Keys:
        method: what made the predictions.
        protocol: name of the protocol.
        bucket: label of the range of damage, such as "10-20%"; "outside" or "all".
        metric: name of the measure.
        value: the mean, None where n is 0 or a score is not a number.
        n: samples in the mean.
        low: lower end of the mean's 95 % interval; None where there are too few pictures for one.
        high: its upper end.
        pictures: how many different pictures the samples show.
        perfect: samples left out, since their score is infinite.
        nan: samples whose score is not a number.
        spread: standard deviation over subsets of the samples, of measures that have one (KID).
    """

    method: str
    protocol: str
    bucket: str
    metric: str
    value: float | None
    n: int
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    pictures: NotRequired[int]
    perfect: NotRequired[int]
    nan: NotRequired[int]
    spread: NotRequired[float | None]


class PairedComparison(TypedDict):
    """Two methods on the same samples, by one measure.

    Keys:
        method: the one that is judged.
        other: the one beside it.
        protocol: name of the protocol.
        bucket: as in `Row`.
        metric: name of the measure.
        difference: mean of `method` - `other`; None where no sample has a finite score of both.
        low: lower end of the mean's 95 % interval; None where there are too few pictures for one.
        high: its upper end.
        ahead: share of the samples on which `method` is the better one, in [0, 1].
        level: share of the samples on which both are equal.
        n: samples with a finite score of both.
    """

    method: str
    other: str
    protocol: str
    bucket: str
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    ahead: float | None
    level: float | None
    n: int


def score_rows(method: str, protocol: Protocol, means: Mapping[tuple[str, str], Mean]) -> list[ScoreRow]:
    """What `Tally.compute` returned, one row per bucket and measure, ready for JSON."""
    return [
        ScoreRow(method=method, protocol=protocol.name, bucket=bucket, metric=metric, value=mean.value, n=mean.n)
        for (bucket, metric), mean in means.items()
    ]
