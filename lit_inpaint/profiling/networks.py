"""Build the networks to profile, by the name of a paper's class or of a published variant."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from lit_inpaint import papers
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers


class Network(NamedTuple):
    """A network to profile.

    Attributes:
        label: name in the tables.
        variant: key of the paper's `published_as`; None for arguments that were not published.
        model: the paper.
        checkpoint: file that holds the weights; None for a new network.
    """

    label: str
    variant: str | None
    model: Inpainter
    checkpoint: Path | None = None


def all_variants() -> set[str]:
    """Published names of all variants of all papers."""
    return {name for paper in _all_papers() for name in paper.published_as}


def build_networks(names: Sequence[str] | None) -> list[Network]:
    """Build networks with new weights.

    Args:
        names: class names, which stand for all variants of a paper, and names of variants; None for all papers.

    Raises:
        UserError: a name is unknown.
    """
    by_class = {paper.__name__: [(name, paper) for name in paper.published_as or (paper.__name__,)] for paper in _all_papers()}
    by_variant = {name: [(name, paper)] for variants in by_class.values() for name, paper in variants}
    known = by_variant | by_class
    chosen: dict[str, type[Inpainter]] = {}
    for name in names if names is not None else by_class:
        if name not in known:
            raise UserError(f"no paper or variant {name!r}{did_you_mean(name, known, n=3, cutoff=0.4)}")
        chosen.update(known[name])
    networks = [Network(name, name, cast(Any, paper)(**paper.published_as.get(name, {}))) for name, paper in chosen.items()]
    for network in networks:
        use_fast_cpu_layers(network.model)  # as in a run
    return networks


def build_for_training(network: Network, size: int) -> Inpainter:
    """Build the same network for training images of `size` pixels; a network from a checkpoint is returned as it is.

    Loss networks get random weights: these take the same time and need no file.
    """
    if network.checkpoint is not None:
        return network.model
    paper: Any = type(network.model)
    arguments: dict[str, object] = {"vgg": "random", "segmentation": "random", "size": size}
    accepted = {name: value for name, value in arguments.items() if name in inspect.signature(paper).parameters}
    return cast("Inpainter", paper(**{**paper.published_as.get(network.variant, {}), **accepted}))


def _all_papers() -> list[type[Inpainter]]:
    exported = [getattr(papers, name) for name in papers.__all__]
    return [paper for paper in exported if inspect.isclass(paper) and issubclass(paper, Inpainter)]
