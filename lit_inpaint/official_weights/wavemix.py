"""Weights of remag2069/WaveMix-Inpainting for `WaveMix`: `Model` of 97b502f, or `WavePaint` of 6da2b5e."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lit_inpaint.errors import UserError
from lit_inpaint.official_weights.renaming import load_renamed, rename

_ROOTS = {"official": "layers", "wavepaint": "wavemodules"}  # public name of the list of modules, by variant
_LAYERS = {  # public and our names of the layers in a module, in the order of replacement
    "official": (
        ("conv", "stem"),
        ("feedforward", "feed_forward"),
        ("ff1", "deconvolution.0"),
        ("depthconv", "depthwise"),
        ("decoder2.0", "head"),
    ),
    "wavepaint": (
        ("conv", "stem"),
        ("feedforward.4", "deconvolution.0"),
        ("feedforward.5", "norm"),
        ("feedforward", "feed_forward"),
        ("depthconv", "depthwise"),
        ("decoder1.1", "decoder.2"),
        ("decoder1", "decoder"),
        ("decoder2.0", "head"),
    ),
}


def load(generator: nn.Module, state_dict: Mapping[str, Tensor], arguments: Mapping[str, object]) -> list[str]:
    """Load the public weights.

    `Model` saves its last module under two names; the second ones, `wave.*`, are dropped.

    Args:
        generator: a `WaveMixGenerator`.
        state_dict: the public network's own.
        arguments: those of `WaveMix` that created `generator`.

    Returns:
        The dropped names.

    Raises:
        UserError: weights of neither network, of one with other arguments, or second names with other values.
    """
    variant = "wavepaint" if any(name.startswith("wavemodules.") for name in state_dict) else "official"
    root = _ROOTS[variant]
    dropped = [name for name in state_dict if name.startswith("wave.")] if variant == "official" else []
    taken = {name: value for name, value in state_dict.items() if name not in set(dropped)}
    modules, blocks = (_count(rf"{root}\.{place}", taken) for place in (r"(\d+)\.", r"\d+\.layers\.(\d+)\."))
    if not (modules and blocks):
        raise UserError(
            "these are weights neither of WaveMix-Inpainting's Model, whose first is called "
            "layers.0.layers.0.feedforward.0.weight, nor of WavePaint, whose first is called wavemodules.0.conv.0.weight"
        )
    for name in dropped:
        first_name = f"{root}.{modules - 1}.{name.removeprefix('wave.')}"
        if first_name not in taken or not torch.equal(taken[first_name], state_dict[name]):
            raise UserError(f"{name} of these weights should be a second name of {first_name}, but it holds something else")
    expanded, dimension = taken[f"{root}.0.layers.0.feedforward.0.weight"].shape[:2]
    needed = {
        "variant": variant,
        "modules": modules,
        "blocks": blocks,
        "dimension": dimension,
        "expansion": expanded // dimension,
        "levels": 1,
    }
    if any(arguments[name] != value for name, value in needed.items()):
        listed = ", ".join(f"{name}={value!r}" for name, value in needed.items())
        raise UserError(f"these weights are of another network than this: WaveMix({listed})")
    renamed = rename(taken, lambda name: our_name(name, variant))
    load_renamed([("the public weights do not fit this WaveMix", generator, renamed)])
    return dropped


def our_name(name: str, variant: str) -> str | None:
    """Map a public name of "official" or "wavepaint" weights to ours; None for names outside the list of modules."""
    root = _ROOTS[variant]
    if not name.startswith(f"{root}."):
        return None
    name = f"wavemix_modules.{name.removeprefix(f'{root}.')}".replace(".layers.", ".blocks.", 1)
    for public, ours in _LAYERS[variant]:
        name = re.sub(rf"(?<=\d)\.{re.escape(public)}\.", f".{ours}.", name)
    return name


def _count(pattern: str, names: Iterable[str]) -> int:
    """Return one more than the highest number that `pattern` finds at the beginning of the names; 0 if none."""
    return max((int(match[1]) + 1 for name in names if (match := re.match(pattern, name))), default=0)
