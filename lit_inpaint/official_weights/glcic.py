"""Weights of otenim/GLCIC-PyTorch @3f9de13 (`models.py`: CompletionNetwork, ContextDiscriminator) for `GLCIC`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from lit_inpaint.errors import UserError
from lit_inpaint.official_weights.renaming import load_renamed, rename

_NUM_BLOCKS = 16  # of the generator; its last convolution has neither ReLU nor batch norm


def load(
    generator: nn.Module,
    generator_weights: Mapping[str, Tensor],
    discriminator: nn.Module,
    discriminator_weights: Mapping[str, Tensor] | None,
    arguments: Mapping[str, object],
) -> None:
    """Load the public weights of the generator and, if given, of the discriminator.

    Args:
        generator: a `CompletionNetwork`.
        generator_weights: state dict of the public CompletionNetwork.
        discriminator: a `ContextDiscriminator`.
        discriminator_weights: state dict of the public ContextDiscriminator.
        arguments: those of `GLCIC` that created the networks.

    Raises:
        UserError: weights of another network, or of one with other arguments.
    """
    if arguments["norm_first"]:
        raise UserError("the public weights are of a network with ReLU before batch norm: GLCIC(norm_first=False)")
    parts = [("the public weights do not fit GLCIC's generator", generator, rename(generator_weights, generator_name))]
    if discriminator_weights is not None:
        layers = sum(re.fullmatch(r"model_gd\.conv\d+\.weight", name) is not None for name in discriminator_weights)
        if layers not in (0, arguments["global_layers"]):
            raise UserError(
                f"the public discriminator has {layers} global convolutions, this one {arguments['global_layers']}: "
                + ("GLCIC(size=160, local_size=96, global_layers=5)" if layers == 5 else f"GLCIC(global_layers={layers})")
            )
        renamed = rename(discriminator_weights, lambda name: discriminator_name(name, layers))
        parts.append(("the public weights do not fit GLCIC's discriminator", discriminator, renamed))
    load_renamed(parts)


def generator_name(name: str) -> str | None:
    """Map a name of CompletionNetwork to ours: conv1 to conv17 (13 and 15 are deconv), bn1 to bn16; None for other names."""
    match = re.fullmatch(r"(conv|deconv|bn)(\d+)\.(\w+)", name)
    if match is None:
        return None
    kind, number, leaf = match[1], int(match[2]), match[3]
    if kind == "conv" and number == _NUM_BLOCKS + 1:
        return f"{_NUM_BLOCKS}.{leaf}"
    return f"{number - 1}.{_within_block(kind)}.{leaf}"


def discriminator_name(name: str, global_layers: int) -> str | None:
    """Map a name of ContextDiscriminator to ours; None for other names."""
    match = re.fullmatch(r"model_([lg])d\.(conv|bn|linear)(\d+)\.(\w+)", name)
    if match is None:
        return name.replace("linear1.", "to_logit.") if re.fullmatch(r"linear1\.(weight|bias)", name) else None
    side, kind, number, leaf = match[1], match[2], int(match[3]), match[4]
    branch, layers = ("local_branch", 5) if side == "l" else ("global_branch", global_layers)
    if kind == "linear":
        return f"{branch}.{layers + 1}.{leaf}" if number == layers + 1 else None
    return f"{branch}.{number - 1}.{_within_block(kind)}.{leaf}"


def _within_block(kind: str) -> int:
    """Index within a block of convolution, ReLU, batch norm."""
    return 2 if kind == "bn" else 0
