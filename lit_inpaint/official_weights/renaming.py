"""Rename a public state dict to this package's names and load it: all weights or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from lit_inpaint.errors import UserError


class RenamedWeights(NamedTuple):
    """A public state dict under this package's names.

    Attributes:
        state_dict: values by our name.
        public_names: the public name by our name.
        unknown: public names that correspond to no weight of ours.
    """

    state_dict: dict[str, Tensor]
    public_names: dict[str, str]
    unknown: set[str]


def rename(public: Mapping[str, Tensor], our_name: Callable[[str], str | None]) -> RenamedWeights:
    """Rename the weights of a public state dict.

    Args:
        public: values by public name.
        our_name: our name of a public one; None for a name that the public code does not have.
    """
    names = {name: our_name(name) for name in public}
    public_names = {ours: name for name, ours in names.items() if ours is not None}
    unknown = {name for name, ours in names.items() if ours is None}
    return RenamedWeights({ours: public[name] for ours, name in public_names.items()}, public_names, unknown)


def load_renamed(parts: Sequence[tuple[str, nn.Module, RenamedWeights]]) -> None:
    """Load weights into networks, once all of them fit.

    Args:
        parts: for each network the beginning of the error message ("… do not fit …"), the network and its weights.

    Raises:
        UserError: weights are missing, unknown or of another shape; the networks stay unchanged.
    """
    for message, network, weights in parts:
        found = {name: value.shape for name, value in weights.state_dict.items()}
        needed = {name: value.shape for name, value in network.state_dict().items()}
        differing = {name for name in found.keys() | needed if found.get(name) != needed.get(name)}
        wrong = sorted(weights.unknown | {weights.public_names.get(name, name) for name in differing})
        if wrong:
            listed = f"{len(wrong)} weights: {', '.join(wrong[:3])}"
            raise UserError(f"{message}; missing, unknown or of another shape are {listed}")
    for _, network, weights in parts:
        network.load_state_dict(weights.state_dict)


def reject_discriminator(paper: str, discriminator: object) -> None:
    """Raise a `UserError` if a discriminator's state dict is given for a paper without a discriminator."""
    if discriminator is not None:
        raise UserError(f"{paper} has no discriminator: give load_official the generator's state dict alone")
