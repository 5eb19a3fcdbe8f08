"""Metrics that a protocol does not have among its own columns, by name: FID, KID, LPIPS, metrics of the hole."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, cast

from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.inception_features import InceptionFeatures
from lit_inpaint.metrics.kid import KID
from lit_inpaint.metrics.l1 import l1
from lit_inpaint.metrics.lpips import LPIPS, LPIPSNet
from lit_inpaint.metrics.paper_protocols import L1, PSNR, SSIM, Metric, Protocol
from lit_inpaint.metrics.psnr import psnr
from lit_inpaint.storage.user_path import user_path

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
_LPIPS: dict[str, LPIPSNet] = {"lpips_alex": "alex", "lpips_vgg": "vgg", "lpips_squeeze": "squeeze"}
_LPIPS_MIN_SIZE = 32

NAMES = (*(metric.name for metric in _PER_IMAGE), *_LPIPS, *_DISTRIBUTION)
"""The values of `--metrics`. Those with a network also exist with the suffix `_random_weights`, which needs no file."""


class ExtraMetrics(NamedTuple):
    """Metrics for a protocol that does not have them.

    Attributes:
        per_image: metrics of single images.
        distribution: builds the metrics of the whole set of images; None if there are none.
        notes: lines on networks that have other weights than the published ones.
    """

    per_image: tuple[Metric, ...] = ()
    distribution: DistributionMetrics | None = None
    notes: tuple[str, ...] = ()

    def extend(self, protocol: Protocol) -> Protocol:
        """Append the metrics of single images that the protocol does not have."""
        own = {metric.name for metric in protocol.metrics}
        return replace(protocol, metrics=(*protocol.metrics, *(one for one in self.per_image if one.name not in own)))


def load_metrics(names: Sequence[str]) -> ExtraMetrics:
    """Look up metrics by name and load the weights they need.

    Args:
        names: each a name, or NAME=FILE for one with a network: FILE then holds the network's weights, in the published form. A
            name with a dot is the import path of a `Metric`, of a subclass of `DistributionMetric`, or of a function without
            arguments that returns one of both.

    Raises:
        UserError: unknown name, with the closest one; a metric without a network has a file; or weights are missing or broken.
    """
    files: dict[str, Path | None] = {}
    imported = [_import_metric(name) for name in names if "." in name.partition("=")[0]]
    names = [name for name in names if "." not in name.partition("=")[0]]
    known = [*NAMES, *(name + _RANDOM for name in (*_LPIPS, *_DISTRIBUTION))]
    for text in names:
        name, has_file, file = text.partition("=")
        if name not in known:
            raise UserError(f"--metrics: there is no metric {name!r}{did_you_mean(name, known, show_all=True)}")
        if has_file and (name not in (*_LPIPS, *_DISTRIBUTION) or not file):
            raise UserError(f"--metrics {text}: NAME=FILE gives the weights of {', '.join((*_LPIPS, *_DISTRIBUTION))}")
        files[name] = user_path(file) if has_file else None
    own = {metric.name: metric for metric in _PER_IMAGE}
    lpips = [LPIPS(_LPIPS[name.removesuffix(_RANDOM)], _weights(name, file)) for name, file in files.items() if "lpips" in name]
    for network in lpips:
        network.require_weights()
    per_image = {network.name: _lpips_metric(network) for network in lpips}
    build = _distribution_metrics(
        {name: file for name, file in files.items() if name.removesuffix(_RANDOM) in _DISTRIBUTION},
        [make for make in imported if not isinstance(make, Metric)],
    )
    notes = [f"{name}: the network's weights are those of {file}" for name, file in files.items() if file is not None]
    chosen = [(own | per_image)[name] for name in files if name in own | per_image]
    return ExtraMetrics((*chosen, *(one for one in imported if isinstance(one, Metric))), build, tuple(notes))


def _import_metric(path: str) -> Metric | Callable[[], DistributionMetric]:
    """Import a metric of the user's own: one of single images, or a function that builds one of the whole set."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
        metric = found() if callable(found) and not isinstance(found, Metric) else found
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"--metrics {path}: {error}; give the import path of a lit_inpaint.metrics.Metric") from None
    if isinstance(metric, DistributionMetric):
        return cast(Callable[[], DistributionMetric], found)
    if not isinstance(metric, Metric):
        raise UserError(
            f"--metrics {path} is {type(metric).__name__}; expected a lit_inpaint.metrics.Metric, a subclass of "
            "DistributionMetric, or a function without arguments that returns one of them"
        )
    return metric


def load_protocol_metrics(protocol: Protocol) -> ExtraMetrics:
    """Load the metrics with networks that belong to a protocol.

    Raises:
        UserError: weights are missing or broken; names the remedies.
    """
    try:
        return load_metrics(protocol.extra_metrics)
    except UserError as error:
        raise UserError(f"protocol {protocol.name}: {error}; or name other --metrics, such as psnr") from error


def _weights(name: str, file: Path | None) -> Literal["imagenet", "random"] | Path:
    return "random" if name.endswith(_RANDOM) else file or "imagenet"


def _lpips_metric(lpips: LPIPS) -> Metric:
    version = "" if not isinstance(lpips.weights, Path) else f"{lpips.weights.absolute()} {lpips.weights.stat().st_mtime_ns}"
    return Metric(lpips.name, lpips, unit="", higher_is_better=False, min_size=_LPIPS_MIN_SIZE, version=version)


def _distribution_metrics(
    files: Mapping[str, Path | None], own: Sequence[Callable[[], DistributionMetric]]
) -> DistributionMetrics | None:
    """Builder of the metrics of the whole set: by name with their files, where the same weights share features, and `own`."""
    if not files and not own:
        return None
    chosen = [(_DISTRIBUTION[name.removesuffix(_RANDOM)], _weights(name, file)) for name, file in files.items()]
    features = {weights: InceptionFeatures(weights) for _, weights in chosen}

    def build() -> tuple[DistributionMetric, ...]:
        return (*(metric(features[weights]) for metric, weights in chosen), *(make() for make in own))

    for metric in build():
        metric.require_weights()
    return build
