"""Convolution of an upsampled map at its own resolution against the plain layer."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d, interpolate, pad

from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers
from lit_inpaint.nets.cpu.upsampled_convolution import CPUPaddedConv2d, conv2d_of_upsampled
from lit_inpaint.nets.padding import PaddedConv2d, Padding


def test_replicated_edges() -> None:
    x = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    expected = conv2d(pad(interpolate(x, scale_factor=2.0), (1, 1, 1, 1), "replicate"), weight)
    torch.testing.assert_close(conv2d_of_upsampled(x, weight, "replicate"), expected)
    torch.autograd.gradcheck(lambda x, weight: conv2d_of_upsampled(x, weight, "replicate"), (x, weight))


@pytest.mark.parametrize("padding", ["same", "symmetric", "reflect"])
@pytest.mark.parametrize("side", [2, 16])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_layer(padding: Padding, side: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = PaddedConv2d(5, 7, 3, padding=padding, upsample=True).to(memory_format=layout)
    x = torch.randn(2, 5, side, side + 1).to(memory_format=layout)
    expected = layer(x)
    wanted = torch.autograd.grad(expected.square().sum(), [*layer.parameters()])
    use_fast_cpu_layers(layer)
    assert type(layer) is CPUPaddedConv2d
    found = layer(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), [*layer.parameters()]), wanted, rtol=1e-4, atol=1e-3)


def test_precision_under_autocast() -> None:
    layer = PaddedConv2d(5, 7, 3, upsample=True)
    x = torch.randn(2, 5, 16, 16)
    expected = layer(x)
    use_fast_cpu_layers(layer)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
