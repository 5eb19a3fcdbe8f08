"""Split a batch into micro-batches whose gradients add up to those of the batch: less memory for the same step."""

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
        samples: their indices in the whole batch.
        fraction: of the batch, in (0, 1]; weight of the micro-batch's loss.
        is_last: whether no other micro-batch follows.
    """

    batch: Batch
    samples: slice
    fraction: float
    is_last: bool


def split_batch(batch: Batch, count: int) -> list[MicroBatch]:
    """Split `batch` into `count` micro-batches, at most one per sample, whose sizes differ by at most 1."""
    total = len(batch["name"])
    if count == 1:
        return [MicroBatch(batch, slice(0, total), 1.0, True)]
    count = min(count, total)
    edges = [total * number // count for number in range(count + 1)]
    return [MicroBatch(_slice_batch(batch, a, b), slice(a, b), (b - a) / total, b == total) for a, b in pairwise(edges)]


def _slice_batch(batch: Batch, begin: int, end: int) -> Batch:
    part = Batch(image=batch["image"][begin:end], mask=batch["mask"][begin:end], name=list(batch["name"][begin:end]))
    if "edges" in batch:
        part["edges"] = batch["edges"][begin:end]
    return part


def concat_predictions(predictions: Iterable[Prediction]) -> Prediction:
    """Concatenate the predictions for the micro-batches of a batch, in order."""
    every = list(predictions)
    if len(every) == 1:
        return every[0]
    stages = {name: torch.cat([prediction.stages[name] for prediction in every]) for name in every[0].stages}
    return Prediction(torch.cat([prediction.image for prediction in every]), stages)


def slice_prediction(prediction: Prediction, micro: MicroBatch) -> Prediction:
    """Return the samples of `micro` out of the prediction for the whole batch."""
    return Prediction(prediction.image[micro.samples], {name: x[micro.samples] for name, x in prediction.stages.items()})
