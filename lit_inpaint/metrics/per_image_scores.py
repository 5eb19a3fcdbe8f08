"""The score of every method on every sample, and the means, intervals and comparisons that follow from it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from lit_inpaint.metrics.bootstrap import LEAST, RESAMPLES, bootstrap_intervals, resamples_of
from lit_inpaint.metrics.bucketed_means import ALL, OUTSIDE
from lit_inpaint.metrics.mask_ratio_buckets import bucket_of
from lit_inpaint.metrics.paper_protocols import Protocol
from lit_inpaint.metrics.score_rows import PairedComparison, ScoreRow
from lit_inpaint.visualization.progress_bar import progress_bar

_PERFECT = "a completion without a fault, for which it is infinite"


@dataclass(frozen=True)
class DistributionScore:
    """A number of all samples together, such as FID.

    Attributes:
        name: as rows call it.
        unit: what it is counted in; empty for a pure number.
        higher_is_better: which end of the scale is good.
        value: NaN where it could not be computed.
        n: samples behind it.
        pictures: how many different truths they have.
        spread: standard deviation over subsets, where the measure has one.
        remark: what a reader must be told; empty where there is nothing.
    """

    name: str
    unit: str
    higher_is_better: bool
    value: float
    n: int
    pictures: int
    spread: float | None = None
    remark: str = ""


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        protocol: what was measured.
        names: of the n samples, in the order of the evaluation.
        pictures: which picture each sample shows; samples of one picture have other views or holes.
        shares: (n,) float64, hole pixels / all pixels of each.
        values: by method, (n, measures) float64, in the order of the protocol.
        of_sets: by method, measures of all samples together.
    """

    protocol: Protocol
    names: Sequence[str]
    pictures: Sequence[str]
    shares: Tensor
    values: Mapping[str, Tensor]
    of_sets: Mapping[str, Sequence[DistributionScore]] = field(default_factory=dict)

    @property
    def buckets(self) -> list[str]:
        """The label of each sample's range of damage, "outside" where it is in none, "all" where there are no ranges."""
        if not self.protocol.buckets:
            return [ALL] * len(self.names)
        found = [bucket_of(share, self.protocol.buckets) for share in self.shares.tolist()]
        return [OUTSIDE if bucket is None else bucket.label for bucket in found]

    def _parts(self) -> Iterator[tuple[str, Tensor]]:
        """Each range of damage, "outside" and "all", with (n,) booleans that tell which samples are in it."""
        where = self.buckets
        if self.protocol.buckets:
            for label in [*self.protocol.labels, OUTSIDE]:
                yield label, torch.tensor([bucket == label for bucket in where], dtype=torch.bool)
        yield ALL, torch.ones(len(where), dtype=torch.bool)

    def _pictures(self) -> Tensor:
        """(n,) the number of each sample's picture."""
        number: dict[str, int] = {}
        return torch.tensor([number.setdefault(name, len(number)) for name in self.pictures], dtype=torch.int64)

    def rows(self) -> list[ScoreRow]:
        """Means over samples, with their intervals, of all methods in their order; each range of damage, "outside" and "all".

        A sample whose score is infinite (the PSNR of a perfect completion) is left out of that one mean, and `perfect` counts
        it. Where a score is not a number there is no mean, and `nan` counts them: an average of the others would hide that the
        method fails.
        """
        pictures, of_bucket = self._pictures(), {}
        everything = torch.cat(list(self.values.values()), dim=1)
        for label, inside in _bar(list(self._parts())):
            of_bucket[label] = (inside, bootstrap_intervals(everything[inside], pictures[inside]))
        found = []
        for number, (method, values) in enumerate(self.values.items()):
            first = number * values.shape[1]
            for label, (inside, ends) in of_bucket.items():
                for column, measure in enumerate(self.protocol.metrics):
                    seen = values[inside, column]
                    finite = seen.isfinite()
                    nan = int(seen.isnan().sum())
                    shown = finite.any() and not nan
                    found.append(
                        ScoreRow(
                            method=method,
                            protocol=self.protocol.name,
                            bucket=label,
                            metric=measure.name,
                            value=float(seen[finite].mean()) if shown else None,
                            n=int(finite.sum()),
                            low=_number(ends[first + column, 0]) if shown else None,
                            high=_number(ends[first + column, 1]) if shown else None,
                            pictures=len(set(pictures[inside][finite].tolist())),
                            perfect=int(seen.isinf().sum()),
                            nan=nan,
                        )
                    )
            found += [
                ScoreRow(
                    method=method,
                    protocol=self.protocol.name,
                    bucket=ALL,
                    metric=score.name,
                    value=score.value if math.isfinite(score.value) else None,
                    n=score.n,
                    pictures=score.pictures,
                    spread=score.spread if score.spread is None or math.isfinite(score.spread) else None,
                )
                for score in self.of_sets.get(method, ())
            ]
        return found

    def paired_comparisons(self, methods: Sequence[str]) -> list[PairedComparison]:
        """Each two of `methods` sample by sample: by how much the first is better or worse, how surely, and how often.

        The differences are of the same picture with the same hole, so they vary less than the scores do: two methods whose own
        intervals overlap may still be told apart.
        """
        together = list(itertools.combinations(methods, 2))
        if not together:
            return []
        pictures = self._pictures()
        differences = torch.cat([self.values[one] - self.values[other] for one, other in together], dim=1)
        found = []
        for label, inside in _bar(list(self._parts())):
            ends = bootstrap_intervals(differences[inside], pictures[inside])
            columns = itertools.product(together, self.protocol.metrics)
            for column, ((one, other), measure) in enumerate(columns):
                seen = differences[inside, column]
                seen = seen[seen.isfinite()]
                good = seen if measure.higher_is_better else -seen
                found.append(
                    PairedComparison(
                        method=one,
                        other=other,
                        protocol=self.protocol.name,
                        bucket=label,
                        metric=measure.name,
                        difference=float(seen.mean()) if len(seen) else None,
                        low=_number(ends[column, 0]),
                        high=_number(ends[column, 1]),
                        ahead=float((good > 0).double().mean()) if len(seen) else None,
                        level=float((good == 0).double().mean()) if len(seen) else None,
                        n=len(seen),
                    )
                )
        return found

    def notes(self) -> list[str]:
        """What a reader of the means must be told: scores that are not numbers, and such as were left out."""
        said = []
        if 0 < (count := len(set(self._pictures().tolist()))) < LEAST:
            said.append(f"No 95 % intervals: the samples show {count} different picture(s), and it takes {LEAST}")
        else:
            taken = f"{resamples_of(count):,}" + (" or more" if resamples_of(count) < RESAMPLES else "")
            said.append(
                f"95 % intervals of means (in .json, .csv, .md): percentiles of {taken} bootstrap means over {count:,} pictures"
            )
        for method, values in self.values.items():
            if broken := int(values.isnan().any(dim=1).sum()):
                said.append(
                    f"{method}: {broken:,} of {len(values):,} outputs hold pixels that are not numbers; where they are, there "
                    "is no mean"
                )
            perfect = values.isinf().sum(dim=0).tolist()
            said += [
                f"{method}: {count:,} of {len(values):,} samples are left out of the mean {measure.name.upper()}: "
                + " or ".join([*(["no hole"] if measure.masked else []), *([_PERFECT] if measure.higher_is_better else [])])
                for measure, count in zip(self.protocol.metrics, perfect, strict=True)
                if count
            ]
        of_sets: dict[str, list[str]] = {}
        for method, scores in self.of_sets.items():
            for score in scores:
                if score.remark:
                    of_sets.setdefault(score.remark, []).append(method)
        for remark, methods in of_sets.items():
            said.append(remark if len(methods) == len(self.of_sets) else f"{', '.join(methods)}: {remark}")
        return said


def _bar(parts: Sequence[tuple[str, Tensor]]) -> tqdm[tuple[str, Tensor]]:
    return progress_bar(parts, description="intervals", unit="bucket")


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)
