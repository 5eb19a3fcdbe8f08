"""Swap convolutions and instance norms of a network for their faster CPU forms."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import is_parametrized

from lit_inpaint.nets.cpu.convolution import CPUConv2d, CPUConvTranspose2d
from lit_inpaint.nets.cpu.depthwise_convolution import CPUDepthwiseConv2d
from lit_inpaint.nets.cpu.instance_norm import CPUInstanceNorm2d
from lit_inpaint.nets.cpu.partial_convolution import CPUPartialConv2d
from lit_inpaint.nets.cpu.spectral_convolution import CPUSpectralConv2d
from lit_inpaint.nets.cpu.upsampled_convolution import CPUPaddedConv2d
from lit_inpaint.nets.padding import PaddedConv2d
from lit_inpaint.nets.partial_conv import PartialConv2d


def use_fast_cpu_layers(module: nn.Module) -> None:
    """Change the class of convolutions, `nn.InstanceNorm2d`, `PartialConv2d` and `PaddedConv2d`, in place.

    Each layer stays the same object, so parameters, hooks, state-dict keys and parametrizations (spectral norm) stay. The
    forms compute the same function; on other devices they run torch's own kernels.
    Subclasses of torch's layers keep their class. A second call changes nothing.

    Args:
        module: a network or a whole paper.
    """
    for layer in module.modules():
        fast = _fast_form(layer, _class_of(layer))
        if fast is not None:
            _set_class(layer, fast)


def use_torch_layers(module: nn.Module) -> None:
    """Undo `use_fast_cpu_layers`, and make all weights contiguous (NCHW), in place."""
    for layer in module.modules():
        plain = _PLAIN.get(_class_of(layer))
        if plain is not None:
            _set_class(layer, plain)
    module.to(memory_format=torch.contiguous_format)


_PLAIN: dict[type, type[nn.Module]] = {
    CPUPartialConv2d: PartialConv2d,
    CPUPaddedConv2d: PaddedConv2d,
    CPUInstanceNorm2d: nn.InstanceNorm2d,
    CPUConvTranspose2d: nn.ConvTranspose2d,
    CPUConv2d: nn.Conv2d,
    CPUSpectralConv2d: nn.Conv2d,
    CPUDepthwiseConv2d: nn.Conv2d,
}


def _class_of(layer: nn.Module) -> type[nn.Module]:
    # Torch gives a parametrized layer a class of its own, derived from the layer's class.
    return cast(type[nn.Module], type(layer).__bases__[0]) if is_parametrized(layer) else type(layer)


def _set_class(layer: nn.Module, cls: type[nn.Module]) -> None:
    if is_parametrized(layer):
        own = type(layer)  # deep copies of the layer have it too, and keep it
        cls = type(own.__name__, (cls,), dict(vars(own)))
    layer.__class__ = cls


def _fast_form(layer: Any, cls: type) -> type[nn.Module] | None:
    if cls is PartialConv2d:
        return CPUPartialConv2d
    if cls is PaddedConv2d and layer.upsample:
        return CPUPaddedConv2d
    if cls is nn.InstanceNorm2d and not layer.affine and not layer.track_running_stats:
        return CPUInstanceNorm2d
    if cls is nn.ConvTranspose2d and layer.groups == 1:
        return CPUConvTranspose2d
    if cls is nn.Conv2d and not isinstance(layer.padding, str):
        if layer.groups == 1:
            return CPUSpectralConv2d if _has_spectral_norm_alone(layer) else CPUConv2d
        if _is_square_depthwise(layer):
            return CPUDepthwiseConv2d
    return None


def _is_square_depthwise(layer: nn.Conv2d) -> bool:
    geometry: Any = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return bool(
        layer.groups == layer.in_channels == layer.out_channels
        and layer.padding_mode == "zeros"
        and all(height == width for height, width in geometry)
    )


def _has_spectral_norm_alone(layer: Any) -> bool:
    if not is_parametrized(layer) or set(layer.parametrizations) != {"weight"}:
        return False
    norms = list(layer.parametrizations["weight"])
    return len(norms) == 1 and type(norms[0]) is _SpectralNorm and norms[0].dim == 0
