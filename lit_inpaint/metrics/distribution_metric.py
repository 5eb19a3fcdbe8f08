"""Measures of a set of images as a whole, which no single image has: FID, KID."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat, rank_zero_warn

from lit_inpaint.metrics.inception_features import hashes


class DistributionMetric(Metric, ABC):
    """One number for a set of completions beside the set of their truths.

    A torchmetrics `Metric`, so `reset`, `to` and the sum over processes are its. What it looks through (Inception) is never a
    submodule of it, nor of anything else: no checkpoint, optimizer or DDP sees it.

    Subclasses say what to do with images in `take` and what comes of it in `value`.

    Args:
        name: as rows and log keys call it; says so where the network it looks through has random weights.
        unit: what the number is counted in; empty for a pure number.
        enough: how many different images make the number comparable with others.

    Attributes:
        name: the same.
        unit: the same.
        enough: the same.
        higher_is_better: which end of the scale is good.
        total: completions behind the last `compute`, of all processes; before the first one 0.
        total_different: how many different truths these have; one that comes with several holes counts once.
        total_broken: how many completions hold a pixel that is not a number.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better: bool = False
    images: Tensor
    broken: Tensor
    truths: list[Tensor]

    def __init__(self, name: str, unit: str = "", enough: int = 2) -> None:
        super().__init__()
        self.name = name
        self.unit = unit
        self.enough = enough
        self.total = 0
        self.total_different = 0
        self.total_broken = 0
        self._warned = False
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("broken", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("truths", [], dist_reduce_fx="cat")
        self._add_truths([])

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._add_truths([])  # a process without images must still have something of the right type to send to the others

    @property
    def count(self) -> int:
        """Completions taken in so far, by this process."""
        return int(self.images)

    @property
    def label(self) -> str:
        """The name of the last `compute`'s number: `fid`, or `fid_500` if it is of 500 images, fewer than `enough`."""
        return f"{self.name}_{self.total_different}" if self.total_different < self.enough else self.name

    @property
    def remark(self) -> str:
        """What a reader of the last `compute`'s number must be told, in a line; empty where there is nothing."""
        if self.total_broken:
            return f"{self.label} is not a number: {self.total_broken:,} of {self.total:,} completions hold pixels that are not"
        if self.total < 2:
            return f"{self.label} is not a number: it compares sets of at least 2 images, not of {self.total}"
        if self.total_different < self.enough:
            return (
                f"{self.label}: {self.total_different:,} different images are fewer than the {self.enough:,} that {self.name} "
                "needs; it depends on their number, so compare it with values for the same images alone"
            )
        return ""

    def require_weights(self) -> None:
        """Fail now rather than after the first batch, where a file of weights is missing or broken.

        Raises:
            UserError: which file, where it belongs, the command that fetches it, and what works without it.
        """

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Take in a batch.

        Args:
            prediction: (B, 3, H, W) in [0, 1], composited, multiples of 1/255: what 8-bit files would hold.
            target: the same of the truth.

        Raises:
            UserError: a file of weights is missing or broken.
        """
        whole = prediction.isfinite().flatten(1).all(dim=1)
        self.images += len(whole)
        self.broken += (~whole).sum()
        self._add_truths(hashes(target))
        if bool(whole.all()):
            self.take(prediction, target)  # the tensor itself, not a copy: its features may be known

    def compute(self) -> Tensor:
        """The number, a scalar in float64, of the images of all processes; the same on each.

        NaN for fewer than two images, or where a completion holds pixels that are not numbers. Warns, once, where `remark` says
        something.
        """
        self.total, self.total_broken = int(self.images), int(self.broken)
        self.total_different = len(set(dim_zero_cat(self.truths).tolist()))
        if self.remark and not self._warned:
            self._warned = True
            rank_zero_warn(self.remark)
        if self.total_broken or self.total < 2:
            return torch.tensor(torch.nan, dtype=torch.float64)
        return self.value()

    def _add_truths(self, seen: list[bytes]) -> None:
        numbers = [int.from_bytes(one, "big", signed=True) for one in seen]
        self.truths.append(torch.tensor(numbers, dtype=torch.int64, device=self.device))

    @abstractmethod
    def take(self, prediction: Tensor, target: Tensor) -> None:
        """Take in a batch without a pixel that is not a number: as `update`."""

    @abstractmethod
    def value(self) -> Tensor:
        """The number, a scalar in float64, of at least two images."""
