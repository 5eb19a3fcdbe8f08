"""Weights of rlct1/gin (`models/networks.py` @cfcef5d: ImageTinker2, MultiscaleDiscriminator) for `DeepGIN`'s full model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn.functional import normalize

from lit_inpaint.errors import UserError
from lit_inpaint.official_weights.renaming import load_renamed, rename

_COARSE = {
    **{f"lr_coarse_tinker.{1 + 3 * n}": f"coarse.{n}.0" for n in range(4)},
    **{f"lr_coarse_tinker.{12 + n}": f"coarse.{4 + n}" for n in range(6)},
    **{f"lr_coarse_tinker.{20 + 4 * n}": f"coarse.{10 + n}.1.0" for n in range(3)},
    "lr_coarse_tinker.31": "coarse.13",
}
# The public code numbers the blocks of the bottleneck 1, 2, 5, 3, 4, 6 from first to last.
_BOTTLENECK = ("mres1", "mres2", "mres5", "satn1", "mres3", "mres4", "mres6")
_REFINEMENT = {
    **{f"r_en_conv{n + 1}": f"encoder.{n}.0" for n in range(5)},
    "r_en_skp_conv3": "mssa_quarter.0.0",
    "r_de_satn3": "mssa_quarter.1",
    "r_en_skp_conv4": "mssa_eighth.0.0",
    "r_de_satn2": "mssa_eighth.1",
    **{f"r_md_{name}": f"bottleneck.{n}" for n, name in enumerate(_BOTTLENECK)},
    "r_de_conv1": "decoder_eighth.1.0",
    "r_de_mix_conv1": "merge_eighth.0",
    "r_de_conv2": "decoder_quarter.1.0",
    "r_de_mix_conv2": "merge_quarter.0",
    "r_de_conv3": "decoder.0.1.0",
    "r_de_conv4": "decoder.1.1.0",
    "r_de_conv5": "to_rgb",
    "r_de_conv2_lr": "back_projection.low_resolution.0.0",
    "r_de_conv3_lr": "back_projection.low_resolution.1",
    "r_de_conv5_lr_alpha": "back_projection.alpha.0",
}
_MODULES = {
    **_COARSE,
    **{public: f"refinement.{ours}" for public, ours in _REFINEMENT.items()},
    "layer1": "full_size",
    "layer0": "half_size",
}
_WITHIN_MODULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"\.branch(\d)\.conv", lambda match: f".branches.{int(match[1]) - 1}"),
    (r"\.fusion\d\.conv", ".fusion"),
    (r"\.W\.", ".out."),
    (r"\.module\.weight_bar", ".parametrizations.weight.original"),
    (r"\.module\.weight_([uv])", r".parametrizations.weight.0._\1"),
    (r"\.module\.bias", ".bias"),
)


def load(
    generator: nn.Module,
    net_g: Mapping[str, Tensor],
    discriminator: nn.Module,
    net_d: Mapping[str, Tensor] | None,
) -> None:
    """Load the weights of netG and netD; the vectors of spectral norm are normalized to unit length.

    Args:
        generator: of `DeepGIN`.
        net_g: state dict of netG.
        discriminator: of `DeepGIN`.
        net_d: state dict of netD; None leaves the discriminator unchanged.

    Raises:
        UserError: weights of another network, or the generator is not the full model's.
    """
    if "lr_coarse_tinker.1.weight" not in net_g:
        raise UserError(
            "these are not weights of DeepGIN's netG (ImageTinker2), whose first is called lr_coarse_tinker.1.weight"
        )
    hint = "does not fit this DeepGIN (the public weights are of the full model, DeepGIN() without arguments)"
    parts = [(f"the public netG {hint}", generator, rename(net_g, our_name))]
    if net_d is not None:
        vectors = ("weight_u", "weight_v")
        unit = {name: normalize(value, dim=0) if name.endswith(vectors) else value for name, value in net_d.items()}
        parts.append((f"the public netD {hint}", discriminator, rename(unit, our_name)))
    load_renamed(parts)


def our_name(name: str) -> str | None:
    """Map a public name to ours; None for other names."""
    module = max((known for known in _MODULES if name.startswith(f"{known}.")), key=len, default=None)
    if module is None:
        return None
    rest = name.removeprefix(module)
    for pattern, ours in _WITHIN_MODULES:
        rest = re.sub(pattern, ours, rest)
    return _MODULES[module] + rest
