"""Scores of all methods on all samples, and what follows from them: means with intervals, paired comparisons, JSON rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

import torch
from torch import Tensor
from tqdm import tqdm

from lit_inpaint.metrics.bootstrap import MAX_RESAMPLES, MIN_IMAGES, bootstrap_intervals, num_resamples
from lit_inpaint.metrics.bucketed_means import ALL, OUTSIDE
from lit_inpaint.metrics.mask_ratio_buckets import bucket_of
from lit_inpaint.metrics.paper_protocols import Metric, Protocol
from lit_inpaint.visualization.progress_bar import progress_bar


class ScoreRow(TypedDict):
    """One number of a table, as in the JSON output.

    Keys:
        method: name of the method.
        protocol: name of the protocol.
        bucket: label of the mask-ratio bucket, such as "10-20%"; "outside" or "all".
        metric: name of the metric.
        value: the mean; None where n is 0 or a score is NaN.
        n: samples in the mean.
        low: lower end of the mean's 95 % interval; None with too few images.
        high: its upper end.
        num_images: distinct images among the samples.
        infinite: samples left out of the mean because their score is infinite.
        nan: samples whose score is NaN.
        std: standard deviation over subsets of the samples, of metrics that have one (KID).
    """

    method: str
    protocol: str
    bucket: str
    metric: str
    value: float | None
    n: int
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    num_images: NotRequired[int]
    infinite: NotRequired[int]
    nan: NotRequired[int]
    std: NotRequired[float | None]


class PairedComparison(TypedDict):
    """Two methods on the same samples, by one metric, as in the JSON output.

    Keys:
        method: the first method.
        other: the second method.
        protocol: name of the protocol.
        bucket: as in `ScoreRow`.
        metric: name of the metric.
        difference: mean of `method` - `other`; None where no sample has a finite score of both.
        low: lower end of the mean's 95 % interval; None with too few images.
        high: its upper end.
        win_rate: fraction of the samples on which `method` is better, in [0, 1].
        tie_rate: fraction of the samples on which both are equal.
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
    win_rate: float | None
    tie_rate: float | None
    n: int


@dataclass(frozen=True)
class DistributionScore:
    """Score of all samples together, such as FID.

    Attributes:
        name: in rows.
        unit: of the value; empty for a pure number.
        higher_is_better: the direction of the metric.
        value: NaN where it could not be computed.
        n: number of samples.
        num_images: distinct targets among them.
        std: standard deviation over subsets, of metrics that have one.
        note: on the validity of the value; empty if there is nothing to note.
    """

    name: str
    unit: str
    higher_is_better: bool
    value: float
    n: int
    num_images: int
    std: float | None = None
    note: str = ""


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of several methods on the same n samples.

    Attributes:
        protocol: the metrics and buckets.
        sample_names: in the order of the evaluation.
        image_names: the image of each sample; samples of one image differ in crop or mask.
        mask_ratios: (n,) float64, hole pixels / all pixels of each sample.
        scores: by method, (n, metrics) float64, in the order of the protocol.
        distribution_scores: by method, scores of all samples together.
    """

    protocol: Protocol
    sample_names: Sequence[str]
    image_names: Sequence[str]
    mask_ratios: Tensor
    scores: Mapping[str, Tensor]
    distribution_scores: Mapping[str, Sequence[DistributionScore]] = field(default_factory=dict)

    @property
    def bucket_labels(self) -> list[str]:
        """The bucket of each sample: its label, or "outside"; "all" for a protocol without buckets."""
        if not self.protocol.buckets:
            return [ALL] * len(self.sample_names)
        buckets = [bucket_of(ratio, self.protocol.buckets) for ratio in self.mask_ratios.tolist()]
        return [OUTSIDE if bucket is None else bucket.label for bucket in buckets]

    @property
    def _image_numbers(self) -> Tensor:
        """(n,) a number for the image of each sample."""
        numbers: dict[str, int] = {}
        return torch.tensor([numbers.setdefault(name, len(numbers)) for name in self.image_names], dtype=torch.int64)

    def rows(self) -> list[ScoreRow]:
        """Means with 95 % intervals for each method, bucket and metric, including "outside" and "all".

        An infinite score (the PSNR of a perfect completion) is left out of its mean, and `infinite` counts it. With any NaN
        score there is no mean, and `nan` counts them: the mean of the others would hide the failure.
        """
        images = self._image_numbers
        all_scores = torch.cat(list(self.scores.values()), dim=1)
        buckets = [
            (label, inside, bootstrap_intervals(all_scores[inside], images[inside])) for label, inside in self._with_progress()
        ]
        rows = []
        for number, (method, scores) in enumerate(self.scores.items()):
            first_column = number * scores.shape[1]
            for label, inside, intervals in buckets:
                for column, metric in enumerate(self.protocol.metrics):
                    values, interval = scores[inside, column], intervals[first_column + column]
                    rows.append(self._row(method, label, metric, values, images[inside], interval))
            rows += [self._distribution_row(method, score) for score in self.distribution_scores.get(method, ())]
        return rows

    def paired_comparisons(self, methods: Sequence[str], others: Sequence[str] = ()) -> list[PairedComparison]:
        """Compare each two of `methods`, and each with each of `others`, sample by sample.

        A comparison has the mean difference with its interval, the win rate and the tie rate.

        The differences are of the same image with the same mask, so they vary less than the scores. Two methods with
        overlapping intervals may still differ significantly.
        """
        pairs = [*itertools.combinations(methods, 2), *itertools.product(methods, others)]
        if not pairs:
            return []
        images = self._image_numbers
        differences = torch.cat([self.scores[one] - self.scores[other] for one, other in pairs], dim=1)
        comparisons = []
        for label, inside in self._with_progress():
            intervals = bootstrap_intervals(differences[inside], images[inside])
            for column, ((one, other), metric) in enumerate(itertools.product(pairs, self.protocol.metrics)):
                values = differences[inside, column]
                values = values[values.isfinite()]
                gains = values if metric.higher_is_better else -values
                comparisons.append(
                    PairedComparison(
                        method=one,
                        other=other,
                        protocol=self.protocol.name,
                        bucket=label,
                        metric=metric.name,
                        difference=float(values.mean()) if len(values) else None,
                        low=_none_if_nan(intervals[column, 0]),
                        high=_none_if_nan(intervals[column, 1]),
                        win_rate=float((gains > 0).double().mean()) if len(values) else None,
                        tie_rate=float((gains == 0).double().mean()) if len(values) else None,
                        n=len(values),
                    )
                )
        return comparisons

    def notes(self) -> list[str]:
        """Notes on the means: how intervals were computed, NaN scores, scores left out, validity of distribution metrics."""
        notes = [_note_on_intervals(len(set(self.image_names)))]
        for method, scores in self.scores.items():
            if broken := int(scores.isnan().any(dim=1).sum()):
                notes.append(f"{method}: {broken:,} of {len(scores):,} outputs hold NaN; their buckets have no mean")
            infinite = scores.isinf().sum(dim=0).tolist()
            notes += [
                f"{method}: {count:,} of {len(scores):,} samples are left out of the mean {metric.name.upper()}: "
                + _reason_for_infinity(metric)
                for metric, count in zip(self.protocol.metrics, infinite, strict=True)
                if count
            ]
        methods_by_note: dict[str, list[str]] = {}
        for method, distribution_scores in self.distribution_scores.items():
            for score in distribution_scores:
                if score.note:
                    methods_by_note.setdefault(score.note, []).append(method)
        for note, methods in methods_by_note.items():
            notes.append(note if len(methods) == len(self.distribution_scores) else f"{', '.join(methods)}: {note}")
        return notes

    def _with_progress(self) -> tqdm[tuple[str, Tensor]]:
        return progress_bar(list(self._buckets()), description="intervals", unit="bucket")

    def _buckets(self) -> Iterator[tuple[str, Tensor]]:
        """Each bucket, "outside" and "all", with (n,) booleans of its samples."""
        labels = self.bucket_labels
        if self.protocol.buckets:
            for label in [*self.protocol.labels, OUTSIDE]:
                yield label, torch.tensor([bucket == label for bucket in labels], dtype=torch.bool)
        yield ALL, torch.ones(len(labels), dtype=torch.bool)

    def _row(self, method: str, bucket: str, metric: Metric, values: Tensor, images: Tensor, interval: Tensor) -> ScoreRow:
        finite, nan = values.isfinite(), int(values.isnan().sum())
        has_mean = finite.any() and not nan
        return ScoreRow(
            method=method,
            protocol=self.protocol.name,
            bucket=bucket,
            metric=metric.name,
            value=float(values[finite].mean()) if has_mean else None,
            n=int(finite.sum()),
            low=_none_if_nan(interval[0]) if has_mean else None,
            high=_none_if_nan(interval[1]) if has_mean else None,
            num_images=len(set(images[finite].tolist())),
            infinite=int(values.isinf().sum()),
            nan=nan,
        )

    def _distribution_row(self, method: str, score: DistributionScore) -> ScoreRow:
        return ScoreRow(
            method=method,
            protocol=self.protocol.name,
            bucket=ALL,
            metric=score.name,
            value=score.value if math.isfinite(score.value) else None,
            n=score.n,
            num_images=score.num_images,
            std=score.std if score.std is None or math.isfinite(score.std) else None,
        )


def _note_on_intervals(num_images: int) -> str:
    if 0 < num_images < MIN_IMAGES:
        return f"No 95 % intervals: the samples show {num_images} distinct image(s), and {MIN_IMAGES} are needed"
    count = num_resamples(num_images)
    resamples = f"{count:,}" + (" or more" if count < MAX_RESAMPLES else "")
    return (
        f"95 % intervals of means (in .json, .csv, .md): percentiles of {resamples} bootstrap means over {num_images:,} images"
    )


def _reason_for_infinity(metric: Metric) -> str:
    reasons = ["no hole"] if metric.masked else []
    if metric.higher_is_better:
        reasons.append("a perfect completion, for which it is infinite")
    return " or ".join(reasons)


def _none_if_nan(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)
