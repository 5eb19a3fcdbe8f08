"""Base class of metrics of a whole set of images: FID, KID."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import cast

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat, rank_zero_warn

from lit_inpaint.metrics.inception_features import FeatureExtractor, InceptionFeatures, image_hashes


class DistributionMetric(torchmetrics.Metric, ABC):
    """Distance between the features of a set of completions and those of their targets.

    A torchmetrics metric: `reset`, `to` and the sum over processes are inherited. Subclasses implement `update_features` and
    `compute_distance`.

    Args:
        name: in rows and log keys; the extractor's suffix is appended.
        features: the feature extractor; several metrics may share one, and targets are then processed once. None: Inception-v3.
        min_images: number of distinct targets from which the value is comparable with others; None: the length of a feature
            vector.

    Attributes:
        name: the full name.
        unit: of the value; empty for a pure number.
        features: the extractor.
        min_images: as given.
        higher_is_better: the direction of the metric.
        num_samples: completions in the last `compute`, over all processes; 0 before it.
        num_images: distinct targets among them: one with several masks counts once.
        num_broken: completions with a pixel that is not finite.
        std: standard deviation of the last value over subsets; None where the metric draws none.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better: bool = False
    unit = ""
    sample_count: Tensor
    broken_count: Tensor
    target_hashes: list[Tensor]

    def __init__(self, name: str, features: FeatureExtractor | None = None, min_images: int | None = None) -> None:
        super().__init__()
        self.features = InceptionFeatures() if features is None else features
        self.name = name + self.features.suffix
        self.min_images = self.features.dimensions if min_images is None else min_images
        self.num_samples = self.num_images = self.num_broken = 0
        self.std: float | None = None
        self._warned = False
        self.add_state("sample_count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("broken_count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("target_hashes", [], dist_reduce_fx="cat")
        self._add_hashes([])

    def reset(self) -> None:
        """Remove all images."""
        super().reset()
        self._add_hashes([])  # a process without images must send an empty tensor of the right type

    @property
    def count(self) -> int:
        """Completions so far in this process."""
        return int(self.sample_count)

    @property
    def identity(self) -> str:
        """What the state depends on besides the images: metric, network, file of weights."""
        return f"{type(self).__module__}.{type(self).__qualname__} {self.name} {self.features.identity}"

    def restore(self, state: Mapping[str, Tensor | list[Tensor]]) -> None:
        """Take over the `metric_state` of an equal metric.

        Raises:
            ValueError: it is the state of another metric.
        """
        own = self.metric_state
        if own.keys() != state.keys() or any(
            isinstance(value, Tensor) and value.shape != cast(Tensor, state[name]).shape for name, value in own.items()
        ):
            raise ValueError(f"the state holds {', '.join(state)}, not {', '.join(own)} in the same shapes")
        for name, value in state.items():
            setattr(self, name, [one.to(self.device) for one in value] if isinstance(value, list) else value.to(self.device))
        self._update_count = max(self._update_count, 1)  # otherwise `compute` warns that there was no `update`

    @property
    def label(self) -> str:
        """Name of the last value: `fid`, or `fid_500` for 500 images where that is fewer than `min_images`."""
        return f"{self.name}_{self.num_images}" if self.num_images < self.min_images else self.name

    @property
    def note(self) -> str:
        """A line on the validity of the last value; empty if there is nothing to note."""
        if self.num_broken:
            return f"{self.label} is not a number: {self.num_broken:,} of {self.num_samples:,} completions hold NaN or infinity"
        if self.num_samples < 2:
            return f"{self.label} is not a number: it needs at least 2 images, not {self.num_samples}"
        if self.num_images < self.min_images:
            return (
                f"{self.label}: {self.num_images:,} distinct images are fewer than the {self.min_images:,} that {self.name} "
                "needs; the value depends on their number: compare it only with values of the same images"
            )
        return ""

    def require_weights(self) -> None:
        """Load the network now, so that missing weights stop the evaluation before its first batch.

        Raises:
            UserError: names the missing or broken file, its path, the command that fetches it, and metrics that need none.
        """
        self.features.require_weights()

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            prediction: (B, 3, H, W) in [0, 1], composites rounded to multiples of 1/255.
            target: (B, 3, H, W), likewise.

        Raises:
            UserError: a file of weights is missing or broken.
        """
        finite = prediction.isfinite().flatten(1).all(dim=1)
        self.sample_count += len(finite)
        self.broken_count += (~finite).sum()
        self._add_hashes(image_hashes(target))
        if bool(finite.all()):
            self.update_features(self.features.extract(prediction), self.features.extract_target(target))

    def compute(self) -> Tensor:
        """The value over all processes, a float64 scalar; the same on each.

        NaN for fewer than two images, or where a completion holds NaN or infinity. Warns once if `note` is not empty.
        """
        self.num_samples, self.num_broken = int(self.sample_count), int(self.broken_count)
        self.num_images = len(set(dim_zero_cat(self.target_hashes).tolist()))
        self.std = None
        if self.note and not self._warned:
            self._warned = True
            rank_zero_warn(self.note)
        if self.num_broken or self.num_samples < 2:
            return torch.tensor(torch.nan, dtype=torch.float64)
        return self.compute_distance()

    def _add_hashes(self, hashes: list[bytes]) -> None:
        numbers = [int.from_bytes(one, "big", signed=True) for one in hashes]
        self.target_hashes.append(torch.tensor(numbers, dtype=torch.int64, device=self.device))

    @abstractmethod
    def update_features(self, prediction: Tensor, target: Tensor) -> None:
        """Add the features of a batch, (B, dimensions) of completions and of targets, all finite."""

    @abstractmethod
    def compute_distance(self) -> Tensor:
        """The value, a float64 scalar, of at least two images."""
