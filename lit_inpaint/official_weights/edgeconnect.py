"""Weights of knazeri/edge-connect (`src/networks.py` @3142579: EdgeGenerator, InpaintGenerator, Discriminator)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from lit_inpaint.errors import UserError
from lit_inpaint.official_weights.renaming import RenamedWeights, load_renamed, rename

MODELS = ("edge", "inpaint")
_FILES = {"edge": "EdgeModel", "inpaint": "InpaintingModel"}
_SPECTRAL_NORM = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0._u",
    "weight_v": "parametrizations.weight.0._v",
}

Weights = Mapping[str, Tensor | Mapping[str, Tensor]]
"""State dicts by the name of the model, or one state dict."""


def load(generator: nn.Module, gen: Weights, discriminator: nn.Module, dis: Weights | None) -> list[str]:
    """Load the public weights into the networks of one model or of both: all of them or none.

    Args:
        generator: of `EdgeConnect`, with the children "edge" and "inpaint".
        gen: state dicts of the public generators.
        discriminator: of `EdgeConnect`, with the same children.
        dis: state dicts of the public discriminators; None leaves ours unchanged.

    Returns:
        The public names that are not needed: second names of the first layer of each discriminator.

    Raises:
        UserError: weights of another network, of the other model, or of another width.
    """
    parts: list[tuple[str, nn.Module, RenamedWeights]] = []
    dropped: list[str] = []
    for kind, network, weights in (("gen", generator, gen), ("dis", discriminator, dis)):
        for model, state in {} if weights is None else _by_model(kind, weights):
            second = [name for name in state if _is_second_name(name, state)]
            dropped += second
            kept = {name: value for name, value in state.items() if name not in second}
            message = f"the public {_FILES[model]}_{kind} does not fit this EdgeConnect"
            parts.append((message, network.get_submodule(model), rename(kept, our_name)))
    load_renamed(parts)
    return dropped


def our_name(name: str) -> str | None:
    """Map a public name to ours; None for other names."""
    place, _, kind = name.rpartition(".")
    ours = _our_place(place)
    return None if ours is None else f"{ours}.{_SPECTRAL_NORM.get(kind, kind)}"


def _our_place(place: str) -> str | None:
    if match := re.fullmatch(r"encoder\.([147])", place):  # reflection padding, convolution, norm, ReLU, convolution, ...
        return f"encoder.{(int(match[1]) - 1) // 3}.0"
    if match := re.fullmatch(r"middle\.(\d)\.conv_block\.([15])", place):  # the second convolution has padding of its own
        return f"middle.{match[1]}.branch.{0 if match[2] == '1' else 3}"
    if match := re.fullmatch(r"conv([1-5])\.0", place):
        return f"layers.{2 * (int(match[1]) - 1)}"
    return {"decoder.0": "decoder.0.0", "decoder.3": "decoder.1.0", "decoder.7": "decoder.2"}.get(place)


def _by_model(kind: str, weights: Weights) -> list[tuple[str, Mapping[str, Tensor]]]:
    """Return the state dicts with the names of their models, after checking that each is of its model."""
    named = {name: value for name, value in weights.items() if not isinstance(value, Tensor)}
    if not named or set(named) != set(weights):
        state = cast(Mapping[str, Tensor], weights)
        return [(_model_of(kind, state), state)]
    if unknown := [name for name in named if name not in MODELS]:
        raise UserError(
            f"load_official of EdgeConnect takes state dicts named {' and '.join(MODELS)}, not {', '.join(unknown)}; of a file "
            f"of the public code, give the entry '{'generator' if kind == 'gen' else 'discriminator'}'"
        )
    for model, state in named.items():
        if (found := _model_of(kind, state)) != model:
            raise UserError(f"the weights given as {model!r} are of {_FILES[found]}_{kind}, not of {_FILES[model]}_{kind}")
    return list(named.items())


def _model_of(kind: str, state: Mapping[str, Tensor]) -> str:
    """Return the model of a public generator or discriminator, which the channels of its first kernel show."""
    first = "encoder.1" if kind == "gen" else "conv1.0"
    kernels = [state[name] for name in (f"{first}.weight", f"{first}.weight_orig") if name in state]
    models = {3: "edge", 4: "inpaint"} if kind == "gen" else {2: "edge", 3: "inpaint"}
    model = models.get(kernels[0].shape[1]) if kernels and kernels[0].ndim == 4 else None
    if model is None:
        what = "generator" if kind == "gen" else "discriminator"
        raise UserError(
            f"these are not weights of an EdgeConnect {what}, whose first is called {first}.weight or {first}.weight_orig; "
            f"of a file of the public code, give the entry '{what}'"
        )
    return model


def _is_second_name(name: str, state: Mapping[str, Tensor]) -> bool:
    """Whether `features.*` repeats `conv1.*`, as the public discriminator registers its first layer twice."""
    first = f"conv1.{name.removeprefix('features.')}"
    return name.startswith("features.") and first in state and torch.equal(state[name], state[first])
