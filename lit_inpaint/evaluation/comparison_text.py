"""Describe an evaluation in sentences: what was evaluated, and how the methods compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lit_inpaint.data import InpaintingData
from lit_inpaint.data.manifest import SHORT_DIGEST, Manifest
from lit_inpaint.evaluation.method_labels import label_masks
from lit_inpaint.metrics import ALL, OUTSIDE, EvaluationResult, PairedComparison, Protocol, ScoreRow

_NAMES = {OUTSIDE: "other mask ratios", ALL: "all samples"}
_NOT_COMPARED = "no sample with a finite score of both"
_MAX_LENGTH = 120  # characters of a setting in a sentence
_MAX_NAMED = 10  # images
_MAX_CHECKPOINTS = 3
_MAX_PAIRS = 15  # of methods: each two of six


def describe_evaluation(result: EvaluationResult, data: InpaintingData, manifest: Manifest) -> list[str]:
    """Lines on what the numbers are of: protocol, samples, masks, split, images left out, hash of the list of samples."""
    lines = [
        f"Protocol {result.protocol.name}: {result.protocol.description}",
        f"{len(result.sample_names):,} samples; masks: {'; '.join(label_masks(data.val_masks))}",
        f"Images of {type(data).__name__}: {data.images().note}",
    ]
    if unreadable := manifest.unreadable():
        more = f" and {len(unreadable) - _MAX_NAMED:,} more" if len(unreadable) > _MAX_NAMED else ""
        named = ", ".join(unreadable[:_MAX_NAMED]) + more
        lines.append(f"{len(unreadable):,} image(s) could not be read and are left out: {named}")
    return [*lines, f"SHA-256 of the list of samples: {manifest.digest[:SHORT_DIGEST]}…"]


def describe_methods(
    rows: Sequence[ScoreRow], pairs: Sequence[PairedComparison], protocol: Protocol, methods: Sequence[str]
) -> list[str]:
    """Compare the first of `methods` with each other by its means, then each two sample by sample; one also with baselines.

    Of more than six methods only the first one's pairs are described.
    """
    shown = [pair for pair in pairs if pair["other"] in methods or len(methods) == 1]
    count, more = len({(pair["method"], pair["other"]) for pair in shown}), []
    if count > _MAX_PAIRS:
        shown = [pair for pair in shown if pair["method"] == methods[0]]
        more = [f"{count:,} pairs of methods were compared sample by sample; --output FILE.json has all of them"]
    return [*describe_comparison(rows, protocol, methods[0]), *describe_pairs(shown, protocol), *more]


def describe_comparison(rows: Sequence[ScoreRow], protocol: Protocol, method: str, metric: str | None = None) -> list[str]:
    """A line for each other method: the buckets in which the mean of `method` is better, equal or worse, then all samples.

    Buckets without samples are not named.

    Args:
        rows: of an evaluation.
        protocol: of the same evaluation.
        method: the method that is compared with all others.
        metric: name of the metric; None: the protocol's first.
    """
    chosen = next(one for one in protocol.metrics if metric in (None, one.name))
    sign = 1 if chosen.higher_is_better else -1
    values = {(row["bucket"], row["method"]): row["value"] for row in rows if row["metric"] == chosen.name}
    lines = []
    for other in dict.fromkeys(row["method"] for row in rows if row["method"] != method):
        buckets: dict[str, list[str]] = {"better": [], "equal": [], "worse": []}
        for label in _labels(protocol):
            value, other_value = values.get((label, method)), values.get((label, other))
            if value is not None and other_value is not None:
                gain = sign * (value - other_value)
                buckets["better" if gain > 0 else "worse" if gain < 0 else "equal"].append(_NAMES.get(label, label))
        parts = [f"{word} at {', '.join(labels)}" if protocol.buckets else word for word, labels in buckets.items() if labels]
        if not buckets["better"] and parts and protocol.buckets:
            parts.insert(0, "better nowhere")
        lines.append(f"{method} against {other} by {chosen.name.upper()}: {'; '.join(parts) or _NOT_COMPARED}")
    return lines


def _labels(protocol: Protocol) -> list[str]:
    """Labels of all rows that a table may have."""
    return [*(bucket.label for bucket in protocol.buckets), OUTSIDE, ALL]


def describe_pairs(comparisons: Sequence[PairedComparison], protocol: Protocol) -> list[str]:
    """A line for each two methods: mean difference and win rate in each bucket and over all, by the protocol's first metric.

    Buckets without a sample that has a finite score of both methods are not named.
    """
    metric = protocol.metrics[0]
    lines = []
    for method, other in dict.fromkeys((one["method"], one["other"]) for one in comparisons):
        parts = [
            _describe_pair(one, metric.unit)
            for one in comparisons
            if (one["method"], one["other"], one["metric"]) == (method, other, metric.name) and one["difference"] is not None
        ]
        lines.append(f"{method} - {other}, {metric.name.upper()} sample by sample: {'; '.join(parts) or _NOT_COMPARED}")
    return lines


def _describe_pair(comparison: PairedComparison, unit: str) -> str:
    bucket, low, high = comparison["bucket"], comparison["low"], comparison["high"]
    interval = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    difference = f"{comparison['difference']:+.3f}{interval}{unit and ' ' + unit}"
    return f"{_NAMES.get(bucket, bucket)}: {difference}, better on {comparison['win_rate']:.0%} of {comparison['n']:,}"


def describe_training_differences(
    trained: Mapping[str, Mapping[str, Any] | None], evaluated: Mapping[str, Any], options: Sequence[str]
) -> list[str]:
    """Write a line for each value of masks or size in training that is not the evaluation's, with its checkpoints.

    Args:
        trained: configurations that the checkpoints were trained with, by label; None where none was recorded.
        evaluated: configuration of the evaluated data.
        options: `--data.…` options of this evaluation; `data.masks` has no effect here.
    """
    lines = []
    if any(option.startswith("--data.masks") for option in options):
        lines.append("data.masks are the masks of training and have no effect here; evaluation uses data.val_masks")
    now = evaluated["init_args"]
    different: dict[str, list[str]] = {}
    for label, config in trained.items():
        then = ((config or {}).get("data") or {}).get("init_args", {})
        for key in ("size", "val_masks"):
            if key in then and then[key] != now[key]:
                setting = f"trained with data.{key} = {_shorten(then[key])}, evaluated here with {_shorten(now[key])}"
                different.setdefault(setting, []).append(label)
    for setting, labels in different.items():
        more = f" and {len(labels) - _MAX_CHECKPOINTS:,} more" if len(labels) > _MAX_CHECKPOINTS else ""
        lines.append(f"{', '.join(labels[:_MAX_CHECKPOINTS])}{more} {'were' if len(labels) > 1 else 'was'} {setting}")
    return lines


def _shorten(value: object) -> str:
    text = "the default" if value is None else str(value)
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"
