"""Means per range of damage, kept over batches and processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_inpaint.metrics.paper_protocols import Protocol

OUTSIDE = "outside"
ALL = "all"


class Mean(NamedTuple):
    """A mean over `n` samples; the value is None where n is 0."""

    value: float | None
    n: int


class BucketedMeans(Metric):
    """The mean of each measure in each bucket of a protocol, the same however the samples were split.

    Besides the protocol's buckets there is "outside", for samples that no bucket holds, and "all"; of a protocol without
    buckets there is "all" alone. A sample whose score is
    infinite (the PSNR of a perfect completion) is left out of that one mean, and `n` shows it: otherwise one blank image would
    make a whole table infinite. A score that is not a number is kept, and shows.

    Args:
        protocol: whose measures and buckets are tallied.
    """

    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        shape = (len(protocol.buckets) + 1, len(protocol.metrics))  # the last row is "outside"
        self.add_state("sums", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Mapping[str, Tensor], shares: Tensor) -> None:
        """Take in a batch.

        Args:
            scores: (B,) per measure name, as `score` returns them.
            shares: (B,) hole pixels / all pixels of each sample.
        """
        shares = shares.double()
        bounds = shares.new_tensor([(bucket.low, bucket.high) for bucket in self.protocol.buckets]).view(-1, 2, 1)
        inside = (shares >= bounds[:, 0]) & (shares < bounds[:, 1])
        rows = torch.cat([inside, ~inside.any(dim=0, keepdim=True)])[:, None, :]
        values = torch.stack([scores[measure.name].double() for measure in self.protocol.metrics])
        taken = rows & ~values.isinf()
        self.sums += torch.where(taken, values, 0.0).sum(dim=-1)
        self.counts += taken.sum(dim=-1)

    def compute(self) -> dict[tuple[str, str], Mean]:
        """The means so far, by (bucket label, measure name), in the order of the protocol."""
        sums, counts = (torch.cat([state, state.sum(dim=0, keepdim=True)]).tolist() for state in (self.sums, self.counts))
        labels = [*(bucket.label for bucket in self.protocol.buckets), OUTSIDE, ALL]
        first = 0 if self.protocol.buckets else 1
        return {
            (label, measure.name): Mean(total / n if n else None, n)
            for label, totals, ns in list(zip(labels, sums, counts, strict=True))[first:]
            for measure, total, n in zip(self.protocol.metrics, totals, ns, strict=True)
        }
