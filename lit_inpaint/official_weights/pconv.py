"""Weights of naoto0804/pytorch-inpainting-with-partial-conv (`net.py`: PConvUNet, 7 or 8 levels) for `PConv`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from lit_inpaint.errors import UserError
from lit_inpaint.official_weights.renaming import load_renamed, rename


def load(generator: nn.Module, state_dict: Mapping[str, Tensor], levels: int) -> list[str]:
    """Load the public weights; kernels are divided by C k², the factor that the public layer omits.

    Args:
        generator: a `PConvUNet`.
        state_dict: the public network's own; in a file of its training script, the entry "model".
        levels: of `generator`.

    Returns:
        The public names that are not needed: kernels of ones, which compute the masks.

    Raises:
        UserError: weights of another network, or of one with another number of levels.
    """
    dropped = [name for name in state_dict if name.endswith(".mask_conv.weight")]
    found = sum(name.startswith("enc_") and name.endswith("input_conv.weight") for name in state_dict)
    if found == 0:
        raise UserError(
            "these are not weights of naoto0804's PConvUNet, whose first is called enc_1.conv.input_conv.weight; "
            "of a file of its training script, give the entry 'model'"
        )
    if found != levels:
        raise UserError(f"these weights are of {found} levels, this network has {levels}: PConv(levels={found})")
    rescaled = {
        name: value / value[0].numel() if name.endswith(".input_conv.weight") else value
        for name, value in state_dict.items()
        if name not in dropped
    }
    renamed = rename(rescaled, lambda name: our_name(name, levels))
    load_renamed([("naoto0804's weights do not fit this PConv", generator, renamed)])
    return dropped


def our_name(name: str, levels: int) -> str | None:
    """Map a public name to ours: enc_1 to enc_7 from the image down, dec_7 to dec_1 back up; None for other names."""
    match = re.fullmatch(r"(enc|dec)_(\d+)\.(conv\.input_conv|bn)\.(\w+)", name)
    if match is None:
        return None
    side, number, layer, kind = match.groups()
    level = f"encoder.{int(number) - 1}" if side == "enc" else f"decoder.{levels - int(number)}"
    if layer == "bn":
        return f"{level}.norm.{kind}"
    return f"{level}.partial.conv.weight" if kind == "weight" else f"{level}.partial.{kind}"
