"""Weights of DeepFill's ports to PyTorch: daa233's of v1, nipponjo's `networks.py` and `networks_tf.py` of v2.

- daa233/generative-inpainting-pytorch @c6cdaea, `model/networks.py`: `Generator`, `LocalDis`, `GlobalDis`.
- nipponjo/deepfillv2-pytorch @4899fd3, `model/networks.py` and `model/networks_tf.py`: `Generator`, `Discriminator`. The latter
  has the layers of JiahuiYu/generative_inpainting in the same order and takes its converted weights.

The layers of each port, in the order in which our generators define their convolutions, are listed here by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.functional import normalize

from lit_inpaint.errors import UserError
from lit_inpaint.official_weights.renaming import load_renamed, rename


def _numbered(prefix: str, last: int, suffixes: Mapping[int, str], skip: Sequence[int] = ()) -> list[str]:
    return [f"{prefix}{number}{suffixes.get(number, '')}" for number in range(1, last + 1) if number not in skip]


_DOWN = {2: "_downsample", 4: "_downsample"}
_ATROUS = dict.fromkeys((7, 8, 9, 10), "_atrous")
_SINGLE_LAYERS = [
    *_numbered("conv", 12, _DOWN | _ATROUS),
    *_numbered("conv", 17, {}, skip=range(1, 13)),
]
_BRANCHES = [*_numbered("conv", 10, _DOWN | _ATROUS), *_numbered("pmconv", 10, _DOWN, skip=(7, 8))]
V1_LAYERS = [
    *(f"coarse_generator.{name}.conv" for name in _SINGLE_LAYERS),
    *(f"fine_generator.{name}.conv" for name in [*_BRANCHES, *_numbered("allconv", 17, {}, skip=range(1, 11))]),
]
_UP = {13: "_upsample.conv", 15: "_upsample.conv"}
V2_TF_LAYERS = [
    f"{name}.conv"
    for name in [
        *_numbered("conv", 17, _DOWN | _ATROUS | _UP),
        *_numbered("xconv", 10, _DOWN | _ATROUS),
        *_numbered("pmconv", 10, _DOWN, skip=(7, 8)),
        *_numbered("allconv", 17, _UP, skip=range(1, 11)),
    ]
]


def _blocks(prefix: str, name: str) -> list[str]:
    """Names of the layers of `networks.py` down to a quarter of the size."""
    halves = [f"{prefix}down_block{block}.{layer}" for block in (1, 2) for layer in ("conv1_downsample", "conv2")]
    return [f"{name}conv1", *halves]


_UP_BLOCKS = [f"up_block{block}.{layer}" for block in (1, 2) for layer in ("conv1_upsample.conv", "conv2")]
V2_PORT_LAYERS = [
    f"{name}.conv"
    for name in [
        *(f"stage1.{name}" for name in [*_blocks("", ""), *_numbered("conv_bn", 7, {}), *_UP_BLOCKS, "conv_to_rgb"]),
        *(f"stage2.{name}" for name in [*_blocks("conv_", "conv_"), *_numbered("conv_conv_bn", 5, {})]),
        *(f"stage2.{name}" for name in [*_blocks("ca_", "ca_"), "ca_conv_bn1", "ca_conv_bn4", "ca_conv_bn5"]),
        *(f"stage2.{name}" for name in ["conv_bn6", "conv_bn7", *_UP_BLOCKS, "conv_to_rgb"]),
    ]
]
_FUSE = "stage2.contextual_attention.fuse_weight"
_SPECTRAL = {"weight": "parametrizations.weight.original", "bias": "bias", "weight_u": "parametrizations.weight.0._u"}


def load_v1(
    generator: nn.Module,
    public_generator: Mapping[str, Tensor],
    critics: nn.Module,
    public_critics: Mapping[str, Tensor] | None,
    variant: str,
) -> None:
    """Load daa233's weights, or the code's under daa233's names, into the networks of `DeepFillV1`.

    Args:
        generator: of `DeepFillV1`.
        public_generator: state dict of `Generator`.
        critics: of `DeepFillV1`.
        public_critics: state dicts of `LocalDis` and `GlobalDis` in one, their names after "localD." and "globalD."; None
            leaves the critics unchanged.
        variant: of `DeepFillV1`.

    Raises:
        UserError: weights of another network, or a variant whose padding is not that of the weights.
    """
    if V1_LAYERS[0] + ".weight" not in public_generator:
        hint = "; they are DeepFill v2's: DeepFillV2.load_official" if _is_v2(public_generator) else ""
        raise UserError(f"these are not weights of daa233's Generator, whose first is called {V1_LAYERS[0]}.weight{hint}")
    if variant == "paper":
        raise UserError(
            "these weights were trained with zero padding, and variant 'paper' pads by reflection: load them into "
            "DeepFillV1(variant='port'), or the public code's into DeepFillV1(variant='official', channels='bgr')"
        )
    ours = _our_layers(generator, V1_LAYERS)
    parts = [("daa233's generator does not fit this DeepFillV1", generator, rename(public_generator, ours.get))]
    if public_critics is not None:
        renamed = rename(public_critics, _our_critic_name)
        parts.append(("daa233's localD and globalD do not fit the critics of this DeepFillV1", critics, renamed))
    load_renamed(parts)


def _is_v2(state: Mapping[str, Tensor]) -> bool:
    return "xconv1.conv.weight" in state or "stage1.conv1.conv.weight" in state


def _our_critic_name(name: str) -> str | None:
    match = re.fullmatch(r"(local|global)D\.(?:dis_conv_module\.conv(\d)\.conv|linear)\.(weight|bias)", name)
    if match is None:
        return None
    part, number, kind = match.groups()
    critic = "of_box" if part == "local" else "of_image"
    return f"{critic}.to_score.{kind}" if number is None else f"{critic}.layers.{int(number) - 1}.conv.{kind}"


def load_v2(
    generator: nn.Module,
    public_generator: Mapping[str, Tensor],
    discriminator: nn.Module,
    public_discriminator: Mapping[str, Tensor] | None,
    variant: str,
) -> list[str]:
    """Load nipponjo's weights into the networks of `DeepFillV2`.

    The public discriminator does a power iteration in each call, also in evaluation mode. The vectors loaded here are those
    after the first one, so that in evaluation mode its first outputs equal ours.

    Args:
        generator: of `DeepFillV2`.
        public_generator: state dict of `Generator`.
        discriminator: of `DeepFillV2`.
        public_discriminator: state dict of `Discriminator`; None leaves the discriminator unchanged.
        variant: of `DeepFillV2`.

    Returns:
        The public names that are not needed: the identity that fuses scores.

    Raises:
        UserError: weights of another network or variant.
    """
    tf = "xconv1.conv.weight" in public_generator
    if not _is_v2(public_generator):
        raise UserError(
            "these are not weights of nipponjo's DeepFill v2, whose first is called conv1.conv.weight (networks_tf.py) or "
            "stage1.conv1.conv.weight (networks.py)" + _hint(public_generator)
        )
    if tf == (variant == "port"):
        raise UserError(
            f"these are weights of {'networks_tf.py, the public code' if tf else 'networks.py, its port'}; this network is "
            f"variant {variant!r}: DeepFillV2(variant={'official' if tf else 'port'!r}) computes what they are for"
        )
    layers = V2_TF_LAYERS if tf else V2_PORT_LAYERS
    kept = {name: value for name, value in public_generator.items() if name != _FUSE}
    ours = _our_layers(generator, layers)
    parts = [("nipponjo's generator does not fit this DeepFillV2", generator, rename(kept, ours.get))]
    if public_discriminator is not None:
        parts.append(
            (
                "nipponjo's discriminator does not fit this DeepFillV2",
                discriminator,
                rename(_with_second_vectors(public_discriminator), _our_spectral_name),
            )
        )
    load_renamed(parts)
    return [_FUSE] if _FUSE in public_generator else []


def _hint(state: Mapping[str, Tensor]) -> str:
    return "; they are DeepFill v1's: DeepFillV1.load_official" if "coarse_generator.conv1.conv.weight" in state else ""


def _our_layers(network: nn.Module, layers: Sequence[str]) -> dict[str, str]:
    """Map public weights and biases to ours, whose convolutions are in the same order."""
    ours = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    return {
        f"{public}.{kind}": f"{name}.{kind}" for public, name in zip(layers, ours, strict=True) for kind in ("weight", "bias")
    }


def _with_second_vectors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each `weight_u` (C, 1) by unit vectors u (C,) and v after one power iteration."""
    result = dict(state)
    for name in state:
        if name.endswith(".weight_u"):
            matrix = state[name.removesuffix("_u")].flatten(1)
            v = normalize(matrix.T @ state[name].flatten(), dim=0)
            result[name] = normalize(matrix @ v, dim=0)
            result[name.removesuffix("_u") + "_v"] = v
    return result


def _our_spectral_name(name: str) -> str | None:
    match = re.fullmatch(r"conv(\d+)\.conv_sn\.(weight|bias|weight_u|weight_v)", name)
    if match is None:
        return None
    kinds = {**_SPECTRAL, "weight_v": "parametrizations.weight.0._v"}
    return f"layers.{int(match[1]) - 1}.conv.{kinds[match[2]]}"
