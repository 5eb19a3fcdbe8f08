"""A batch in parts, whose gradients add up to the batch's: less memory for the same step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch

from lit_inpaint.types import Batch, Prediction


@dataclass(frozen=True)
class MicroBatch:
    """Some samples of a batch.

    Attributes:
        batch: these samples.
        rows: their place in the whole batch.
        share: of the batch, in (0, 1]; weighs the part's loss.
        last: whether no part follows.
    """

    batch: Batch
    rows: slice
    share: float
    last: bool


def split_batch(batch: Batch, count: int) -> list[MicroBatch]:
    """`batch` in `count` parts as equal as can be, at most one per sample; one part is the batch itself."""
    total = len(batch["name"])
    if count == 1:
        return [MicroBatch(batch, slice(0, total), 1.0, True)]
    count = min(count, total)
    edges = [total * number // count for number in range(count + 1)]
    return [
        MicroBatch(
            Batch(image=batch["image"][a:b], mask=batch["mask"][a:b], name=list(batch["name"][a:b])),
            slice(a, b),
            (b - a) / total,
            b == total,
        )
        for a, b in pairwise(edges)
    ]


def concat_predictions(predictions: Iterable[Prediction]) -> Prediction:
    """Predictions of the parts of a batch as one, in order."""
    parts = list(predictions)
    if len(parts) == 1:
        return parts[0]
    stages = {name: torch.cat([part.stages[name] for part in parts]) for name in parts[0].stages}
    return Prediction(torch.cat([part.image for part in parts]), stages)


def slice_prediction(prediction: Prediction, part: MicroBatch) -> Prediction:
    """What belongs to `part` of the prediction for a whole batch."""
    return Prediction(prediction.image[part.rows], {name: image[part.rows] for name, image in prediction.stages.items()})
