"""Extend a protocol by metrics that are not among its own columns, by name: FID, KID, LPIPS, metrics of the hole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.inception_features import InceptionFeatures
from lit_inpaint.metrics.kid import KID
from lit_inpaint.metrics.l1 import l1
from lit_inpaint.metrics.lpips import LPIPS
from lit_inpaint.metrics.paper_protocols import L1, PSNR, SSIM, Metric, Protocol
from lit_inpaint.metrics.psnr import psnr

DistributionMetrics = Callable[[], tuple[DistributionMetric, ...]]
"""Builds new, empty metrics for one method; all share the cached features of the targets."""

_PER_IMAGE = (
    PSNR,
    SSIM,
    L1,
    Metric("psnr_hole", psnr, unit="dB", higher_is_better=True, masked=True),
    Metric("l1_hole", l1, unit="%", higher_is_better=False, masked=True),
)
_RANDOM = "_random_weights"
_DISTRIBUTION: dict[str, type[FID | KID]] = {"fid": FID, "kid": KID}
_LPIPS = ("lpips_alex", "lpips_vgg")
_LPIPS_MIN_SIZE = 32

NAMES = (*(metric.name for metric in _PER_IMAGE), *_LPIPS, *_DISTRIBUTION)
"""The values of `--metrics`. The last four also exist with the suffix `_random_weights`, which needs no file of weights."""


class ExtendedProtocol(NamedTuple):
    """A protocol with more columns.

    Attributes:
        protocol: with the added metrics of single images after its own.
        distribution_metrics: builds the added metrics of the whole set of images; None if none were added.
    """

    protocol: Protocol
    distribution_metrics: DistributionMetrics | None


def extend(protocol: Protocol, names: Sequence[str]) -> ExtendedProtocol:
    """Add the metrics called `names` to `protocol`, without duplicates, and load the weights they need.

    Raises:
        UserError: unknown name, with the closest one; or weights are missing or broken.
    """
    known = [*NAMES, *(name + _RANDOM for name in (*_LPIPS, *_DISTRIBUTION))]
    for name in names:
        if name not in known:
            raise UserError(f"--metrics: there is no metric {name!r}{did_you_mean(name, known, show_all=True)}")
    own = {metric.name for metric in protocol.metrics}
    per_image = {metric.name: metric for metric in _PER_IMAGE}
    added, distribution = list[Metric](), list[tuple[type[FID | KID], bool]]()
    for name in dict.fromkeys(names):
        base, random = name.removesuffix(_RANDOM), name.endswith(_RANDOM)
        if base in _DISTRIBUTION:
            distribution.append((_DISTRIBUTION[base], random))
        elif name not in own:
            added.append(per_image[name] if name in per_image else _lpips(base, random))
    features = {random: InceptionFeatures("random" if random else "imagenet") for _, random in distribution}

    def build() -> tuple[DistributionMetric, ...]:
        return tuple(metric(features[random]) for metric, random in distribution)

    for metric in build():
        metric.require_weights()
    return ExtendedProtocol(replace(protocol, metrics=(*protocol.metrics, *added)), build if distribution else None)


def _lpips(name: str, random: bool) -> Metric:
    lpips = LPIPS("alex" if name == "lpips_alex" else "vgg", "random" if random else "imagenet")
    lpips.require_weights()
    return Metric(lpips.name, lpips, unit="", higher_is_better=False, min_size=_LPIPS_MIN_SIZE)
