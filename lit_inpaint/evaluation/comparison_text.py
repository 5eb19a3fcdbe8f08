"""Describe an evaluation in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from lit_inpaint.data import InpaintingData
from lit_inpaint.data.manifest import SHORT_DIGEST, Manifest
from lit_inpaint.evaluation.method_labels import label_masks
from lit_inpaint.metrics import EvaluationResult, PairedComparison, Protocol, ScoreRow


def describe_evaluation(scores: EvaluationResult, data: InpaintingData, manifest: Manifest) -> list[str]:
    """What a reader of the numbers must know, a line each: protocol, samples, masks, the hash of the list of samples."""
    return [
        f"Protocol {scores.protocol.name}: {scores.protocol.description}",
        f"{len(scores.names):,} samples; masks: {'; '.join(label_masks(data.val_masks))}",
        f"SHA-256 of the list of samples: {manifest.digest[:SHORT_DIGEST]}…",
    ]


def describe_comparison(found: Sequence[ScoreRow], protocol: Protocol, method: str, measure: str | None = None) -> list[str]:
    """In words, for each other method: where `method` is ahead of it by `measure`, where behind, and where both are level.

    Without `measure`, by the protocol's first one.
    """
    chosen = next(m for m in protocol.metrics if measure in (None, m.name))
    sign, measure = 1 if chosen.higher_is_better else -1, chosen.name
    values = {(row["bucket"], row["method"]): row["value"] for row in found if row["metric"] == measure}
    lines = []
    for other in dict.fromkeys(row["method"] for row in found if row["method"] != method):
        places: dict[str, list[str]] = {"ahead": [], "level": [], "behind": []}
        for label in protocol.labels:
            ours, theirs = values.get((label, method)), values.get((label, other))
            if ours is not None and theirs is not None:
                lead = sign * (ours - theirs)
                places["ahead" if lead > 0 else "behind" if lead < 0 else "level"].append(label)
        said = [f"{word} at {', '.join(labels)}" if protocol.buckets else word for word, labels in places.items() if labels]
        if not places["ahead"] and protocol.buckets:
            said.insert(0, "nowhere ahead")
        lines.append(f"{method} against {other} by {measure.upper()}: {'; '.join(said)}")
    return lines


def describe_pairs(found: Sequence[PairedComparison], protocol: Protocol) -> list[str]:
    """In words, for each two methods: the mean difference by the protocol's first measure in each range of damage."""
    measure = protocol.metrics[0]
    lines = []
    for one, other in dict.fromkeys((pair["method"], pair["other"]) for pair in found):
        said = []
        for pair in found:
            if (pair["method"], pair["other"], pair["metric"]) != (one, other, measure.name):
                continue
            if pair["bucket"] not in protocol.labels:
                continue
            if pair["difference"] is None:
                said.append(f"{pair['bucket']}: no sample that both have a score of")
                continue
            low, high = pair["low"], pair["high"]
            interval = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
            said.append(
                f"{pair['bucket']}: {pair['difference']:+.3f}{interval}{measure.unit and ' ' + measure.unit}, ahead on "
                f"{pair['ahead']:.0%} of {pair['n']:,}"
            )
        lines.append(f"{one} - {other}, {measure.name.upper()} sample by sample: {'; '.join(said)}")
    return lines
