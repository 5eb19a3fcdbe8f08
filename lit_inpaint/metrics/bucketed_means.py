"""Mean scores per mask-ratio bucket, accumulated over batches and processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torchmetrics
from torch import Tensor

from lit_inpaint.metrics.paper_protocols import Protocol

OUTSIDE = "outside"
ALL = "all"


class Mean(NamedTuple):
    """A mean over `n` samples; the value is None where n is 0."""

    value: float | None
    n: int


class BucketedMeans(torchmetrics.Metric):
    """Mean of each metric in each bucket of a protocol, independent of how samples are split into batches and processes.

    Besides the protocol's buckets, "outside" holds samples in no bucket, and "all" holds every sample. A protocol without
    buckets has "all" alone. An infinite score (the PSNR of a perfect completion) is left out of its mean, and `n` shows that:
    one blank image would otherwise make the whole table infinite. NaN scores are kept and make the mean NaN.

    Args:
        protocol: the metrics and buckets.
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

    def update(self, scores: Mapping[str, Tensor], mask_ratios: Tensor) -> None:
        """Add a batch.

        Args:
            scores: (B,) by metric name, from `score`.
            mask_ratios: (B,) hole pixels / all pixels of each sample.
        """
        mask_ratios = mask_ratios.double()
        bounds = mask_ratios.new_tensor([(bucket.low, bucket.high) for bucket in self.protocol.buckets]).view(-1, 2, 1)
        inside = (mask_ratios >= bounds[:, 0]) & (mask_ratios < bounds[:, 1])
        rows = torch.cat([inside, ~inside.any(dim=0, keepdim=True)])[:, None, :]
        values = torch.stack([scores[metric.name].double() for metric in self.protocol.metrics])
        included = rows & ~values.isinf()
        self.sums += torch.where(included, values, 0.0).sum(dim=-1)
        self.counts += included.sum(dim=-1)

    def compute(self) -> dict[tuple[str, str], Mean]:
        """Means so far, by (bucket label, metric name), in the order of the protocol."""
        sums, counts = (torch.cat([state, state.sum(dim=0, keepdim=True)]).tolist() for state in (self.sums, self.counts))
        labels = [*(bucket.label for bucket in self.protocol.buckets), OUTSIDE, ALL]
        first = 0 if self.protocol.buckets else 1
        return {
            (label, metric.name): Mean(total / n if n else None, n)
            for label, totals, ns in list(zip(labels, sums, counts, strict=True))[first:]
            for metric, total, n in zip(self.protocol.metrics, totals, ns, strict=True)
        }
