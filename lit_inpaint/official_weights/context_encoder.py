"""Weights of BoyuanJiang/context_encoder_pytorch @01cbf96 (`model.py`: _netG, _netlocalD) for `ContextEncoder`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lit_inpaint.official_weights.renaming import load_renamed, rename


def load(
    generator: nn.Module,
    generator_weights: Mapping[str, Tensor],
    discriminator: nn.Module,
    discriminator_weights: Mapping[str, Tensor] | None,
) -> None:
    """Load the public weights of the generator and, if given, of the discriminator.

    The public networks are `nn.Sequential`s with the same layers in the same places, called `main`.

    Args:
        generator: a `ContextEncoderGenerator`.
        generator_weights: state dict of the public _netG.
        discriminator: a `CenterDiscriminator`.
        discriminator_weights: state dict of the public _netlocalD.

    Raises:
        UserError: weights of another network, or of one with other widths.
    """
    parts = [("the public weights do not fit ContextEncoder's generator", generator, rename(generator_weights, our_name))]
    if discriminator_weights is not None:
        renamed = rename(discriminator_weights, our_name)
        parts.append(("the public weights do not fit ContextEncoder's discriminator", discriminator, renamed))
    load_renamed(parts)


def our_name(name: str) -> str | None:
    """Map a public name to ours; None for names outside `main`."""
    return name.removeprefix("main.") if name.startswith("main.") else None
