"""Scores of all samples together: of the distribution metrics, and of the scores that a protocol combines from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.paper_protocols import Protocol
from lit_inpaint.metrics.per_image_scores import DistributionScore


def distribution_scores(
    protocol: Protocol, metrics: Sequence[DistributionMetric], means: Mapping[str, float]
) -> list[DistributionScore]:
    """Compute the scores of the whole set: of `metrics`, and those that the protocol combines from them.

    Args:
        protocol: has the combined scores.
        metrics: of one method, with all samples; in several processes each gets the same result.
        means: of the protocol's metrics of single images, by name, over all samples.
    """
    found = [_score(metric) for metric in metrics]
    for name, metric_name, of_set, combine in _combinations(protocol, [metric.name for metric in metrics]):
        score = found[of_set]
        suffix = score.name.removeprefix(metrics[of_set].name)
        value = combine(means[metric_name], score.value)
        found.append(replace(score, name=name + suffix, unit="", higher_is_better=True, value=value, std=None, note=""))
    return found


def score_directions(protocol: Protocol, metrics: Sequence[DistributionMetric]) -> dict[str, bool]:
    """Return the names of these scores, without a number of images, and whether higher is better."""
    combined = _combinations(protocol, [metric.name for metric in metrics])
    return {metric.name: metric.higher_is_better for metric in metrics} | {name: True for name, *_ in combined}


def plain_name(name: str) -> str:
    """Remove the number of images from the name of a score: `fid_500` is `fid`."""
    return re.sub(r"_\d+$", "", name)


def _combinations(protocol: Protocol, names: Sequence[str]) -> list[tuple[str, str, int, Callable[[float, float], float]]]:
    """Return name, metric of single images, index of the set's metric, and function of each combined score."""
    combinations = []
    for combined in protocol.combined:
        matching = [metric.name for metric in protocol.metrics if metric.name.startswith(combined.metric)]
        for metric_name in matching:
            kind = metric_name.removeprefix(combined.metric) if len(matching) > 1 else ""
            for number, name in enumerate(names):
                if name.startswith(combined.distribution):
                    full = combined.name + kind + name.removeprefix(combined.distribution)
                    combinations.append((full, metric_name, number, combined.function))
    return combinations


def _score(metric: DistributionMetric) -> DistributionScore:
    value = float(metric.compute())  # sets what is read below
    return DistributionScore(
        name=metric.label,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        value=value,
        n=metric.num_samples,
        num_images=metric.num_images,
        std=metric.std,
        note=metric.note,
    )
