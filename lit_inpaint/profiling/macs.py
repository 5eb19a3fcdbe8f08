"""Count parameters, multiply-accumulate operations (MACs) and the size of the weights file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.nets.cpu import winograd

_MAX_PARTS = 4  # children of a generator with more are layers, not parts


class ModelSize(NamedTuple):
    """Size of one network.

    Attributes:
        parameters: of the generator.
        parts: parameters of each part of the generator if it has several, of the "discriminator" if any, and "total". Parts are
            the children of the generator, or what its attribute `parts` groups them to: {part: names of children}.
        macs: of the generator, for one image.
        weights_file: bytes of the generator's state dict as `torch.save` writes it.
    """

    parameters: int
    parts: Mapping[str, int]
    macs: int
    weights_file: int


def count_params_macs(model: Inpainter, size: int) -> ModelSize:
    """Count parameters, and MACs of a forward pass of one image.

    MACs are half the FLOPs that `torch.utils.flop_counter` counts in convolutions and matrix products.

    Args:
        model: a paper; it is left in evaluation mode.
        size: side of the image in pixels, rounded up to the network's multiple.
    """
    image, mask = example_input(model, size, 1, next(model.parameters()).device)
    model.eval()
    with torch.no_grad(), winograd.disabled(), FlopCounterMode(display=False) as counter:
        model(image, mask)
    file = io.BytesIO()
    torch.save(model.generator.state_dict(), file)
    parts = _parts(model.generator)
    if model.discriminator is not None:
        parts["discriminator"] = _count(model.discriminator)
    parameters = _count(model.generator)
    parts["total"] = parameters + parts.get("discriminator", 0)
    return ModelSize(parameters, parts, counter.get_total_flops() // 2, file.tell())


def example_input(model: Inpainter, size: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch of noise images (B, 3, S, S) and masks (B, 1, S, S) with a center hole; S is `size` rounded up."""
    side = size + -size % model.multiple
    image = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    mask = torch.zeros(batch, 1, side, side, device=device)
    mask[..., side // 4 : side - side // 4, side // 4 : side - side // 4] = 1
    return image, mask


def _parts(generator: torch.nn.Module) -> dict[str, int]:
    children = {name: _count(child) for name, child in generator.named_children()}
    grouped: Mapping[str, tuple[str, ...]] | None = getattr(generator, "parts", None)
    if grouped is not None:
        return {part: sum(children[name] for name in names) for part, names in grouped.items()}
    return children if 1 < len(children) <= _MAX_PARTS else {}


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
