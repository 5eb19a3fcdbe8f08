"""Weights of advimman/lama @786f593 for `LaMa`: `FFCResNetGenerator`, `GlobalGenerator`, `NLayerDiscriminator`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lit_inpaint.errors import UserError
from lit_inpaint.official_weights.renaming import load_renamed, rename

# Number of layers in the public list before the first block, and distances of the three upscaling layers from the last.
_FIRST_BLOCK = {"fourier": 5, "regular": 13}
_SPECTRAL = {
    "conv1": "reduce",
    "fu.conv_layer": "fourier_unit.conv",
    "fu.bn": "fourier_unit.norm",
    "conv2": "expand",
}


def load(
    generator: nn.Module,
    public_generator: Mapping[str, Tensor],
    discriminator: nn.Module,
    public_discriminator: Mapping[str, Tensor] | None,
    blocks: int,
) -> list[str]:
    """Load the public weights.

    Args:
        generator: of `LaMa`.
        public_generator: state dict of the generator, or of the whole training module, in which its names begin "generator.".
        discriminator: of `LaMa`.
        public_discriminator: state dict of the discriminator, or of the training module; None leaves ours unchanged.
        blocks: of `generator`.

    Returns:
        The names in a training module's state dict that belong to other networks.

    Raises:
        UserError: weights of another network; both networks stay unchanged.
    """
    weights, dropped = _without_prefix(public_generator, "generator.")
    kind = "fourier" if "model.1.ffc.convl2l.weight" in weights else "regular"
    if kind == "regular" and "model.1.weight" not in weights:
        raise UserError(
            "these are not weights of LaMa's generator, whose first is called model.1.ffc.convl2l.weight (regular "
            "convolutions: model.1.weight)"
        )
    pattern = r"model\.(\d+)\.conv1\.ffc\." if kind == "fourier" else r"model\.(\d+)\.conv_block\.1\.weight"
    found = len({match[1] for name in weights if (match := re.match(pattern, name))})
    ours = "fourier" if any(name.startswith("blocks.0.layers.0.from_local") for name in generator.state_dict()) else "regular"
    if (kind, found) != (ours, blocks):
        raise UserError(f"these weights are of another network than this: LaMa(blocks={found}, convolution={kind!r})")
    joined = _join(weights)
    parts = [("the public weights do not fit this LaMa", generator, rename(joined, lambda name: our_name(name, kind, blocks)))]
    if public_discriminator is not None:
        critic, _ = _without_prefix(public_discriminator, "discriminator.")
        renamed = rename(critic, lambda name: re.sub(r"^model(\d)\.", r"layers.\1.", name) if name[:5] == "model" else None)
        parts.append(("the public discriminator does not fit this LaMa", discriminator, renamed))
    load_renamed(parts)
    return dropped


def our_name(name: str, kind: str, blocks: int) -> str | None:
    """Map a public name, local and global parts joined, to ours; None for other names.

    Args:
        name: such as "model.5.conv1.ffc.convl2l.weight".
        kind: "fourier" or "regular".
        blocks: number of residual blocks.
    """
    match = re.fullmatch(r"model\.(\d+)\.(.+)", name)
    if match is None:
        return None
    layer, rest = int(match[1]), match[2]
    first = _FIRST_BLOCK[kind]
    # Fourier layers hold their norm; regular ones alternate convolution, norm, ReLU. Upscaling layers do so in both networks.
    if layer < first:
        if kind == "fourier":
            return f"encoder.{layer - 1}.{rest.replace('ffc.convl2l', '0').replace('bn_l', '1')}"
        return f"encoder.{(layer - 1) // 3}.{(layer - 1) % 3}.{rest}"
    if layer < first + blocks:
        block = f"blocks.{layer - first}.layers"
        return _in_block(block, rest) if kind == "fourier" else re.sub(r"^conv_block\.(\d)", f"{block}.\\1", rest)
    after = layer - first - blocks - (kind == "fourier")  # the public list has a layer that concatenates
    if after < 9:
        return f"decoder.{after // 3}.{after % 3}.{rest}"
    return f"to_rgb.{rest}"


def _in_block(block: str, rest: str) -> str | None:
    match = re.fullmatch(r"conv([12])\.(.+)", rest)
    if match is None:
        return None
    layer, rest = f"{block}.{int(match[1]) - 1}", match[2]
    for public, ours in _SPECTRAL.items():
        rest = re.sub(rf"^ffc\.convg2g\.{re.escape(public)}\.", f"global_to_global.{ours}.", rest)
    rest = rest.replace("ffc.convl2l", "from_local").replace("ffc.convg2l", "global_to_local").replace("bn_l", "norm")
    return f"{layer}.{rest}"


def _without_prefix(weights: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights under `prefix` without it, and the other names; all weights if none has the prefix."""
    chosen = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not chosen:
        return dict(weights), []
    return chosen, [name for name in weights if not name.startswith(prefix)]


def _join(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Concatenate what the public code has once for local and once for global outputs, under the local name."""
    joined = dict(weights)
    for name, value in weights.items():
        local = name.replace(".convl2g.", ".convl2l.").replace(".bn_g.", ".bn_l.")
        if local != name and local in weights:
            del joined[name]
            if value.ndim:
                joined[local] = torch.cat([weights[local], value])
    return joined
