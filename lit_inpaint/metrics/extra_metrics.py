"""What can be measured beside a protocol's own columns, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.inception_network import Inception
from lit_inpaint.metrics.kid import KID
from lit_inpaint.metrics.l1 import l1
from lit_inpaint.metrics.lpips import LPIPS
from lit_inpaint.metrics.paper_protocols import L1, PSNR, SSIM, Metric, Protocol
from lit_inpaint.metrics.psnr import psnr

DistributionMetrics = Callable[[], tuple[DistributionMetric, ...]]
"""New, empty ones, for one method; the truths they have looked at are remembered for the next."""

_PER_IMAGE = (
    PSNR,
    SSIM,
    L1,
    Metric("psnr_hole", psnr, unit="dB", higher_is_better=True, masked=True),
    Metric("l1_hole", l1, unit="%", higher_is_better=False, masked=True),
)
_RANDOM = "_random_weights"
_OF_SETS = ("fid", "kid")
_LEARNED = {"lpips_alex": "alex", "lpips_vgg": "vgg"}
_LPIPS_SMALLEST = 32

NAMES = (*(measure.name for measure in _PER_IMAGE), *_LEARNED, *_OF_SETS)
"""What `--metrics` takes; of the last four also with `_random_weights` behind it, which needs no file of weights."""


@dataclass(frozen=True)
class Extended:
    """A protocol with more columns.

    Attributes:
        protocol: its measures, and those of single images that were added.
        of_sets: makes the measures of a set of images that were added.
    """

    protocol: Protocol
    of_sets: DistributionMetrics


def extend(protocol: Protocol, names: Sequence[str]) -> Extended:
    """`protocol` with the measures called `names`; those that it has already are not doubled. Reads the weights they need.

    Raises:
        UserError: no such measure, naming the nearest; or its weights are missing or broken.
    """
    known = [*NAMES, *(name + _RANDOM for name in (*_LEARNED, *_OF_SETS))]
    for name in names:
        if name not in known:
            raise UserError(f"--metrics: there is no metric {name!r}{did_you_mean(name, known, show_all=True)}")
    own = {measure.name for measure in protocol.metrics}
    wanted = [name for name in dict.fromkeys(names) if name not in own]
    of_images = {measure.name: measure for measure in _PER_IMAGE}
    added = [
        of_images[name] if name in of_images else _lpips(name) for name in wanted if name.removesuffix(_RANDOM) not in _OF_SETS
    ]
    of_sets = [name for name in wanted if name.removesuffix(_RANDOM) in _OF_SETS]
    looking = {suffix: Inception("random" if suffix else "imagenet") for suffix in dict.fromkeys(map(_suffix, of_sets))}

    def build() -> tuple[DistributionMetric, ...]:
        return tuple((FID if name.startswith("fid") else KID)(looking[_suffix(name)]) for name in of_sets)

    for measure in build():
        measure.require_weights()
    return Extended(replace(protocol, metrics=(*protocol.metrics, *added)), build)


def _suffix(name: str) -> str:
    return _RANDOM if name.endswith(_RANDOM) else ""


def _lpips(name: str) -> Metric:
    net = _LEARNED[name.removesuffix(_RANDOM)]
    looked = LPIPS("alex" if net == "alex" else "vgg", "random" if name.endswith(_RANDOM) else "imagenet")
    looked.require_weights()
    return Metric(looked.name, looked, unit="", higher_is_better=False, smallest=_LPIPS_SMALLEST)
