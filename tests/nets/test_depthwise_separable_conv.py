from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from lit_inpaint.nets.depthwise_separable_conv import DepthwiseSeparableConv2d, LargestKernelNorm, add_spectral_norm


def test_parameters() -> None:
    """k k C + C of the depthwise, C C' + C' of the pointwise convolution."""
    found = DepthwiseSeparableConv2d(6, 32, 5)
    assert sum(p.numel() for p in found.parameters()) == 25 * 6 + 6 + 6 * 32 + 32
    assert [name for name, _ in found.named_parameters()] == [
        "depthwise.weight",
        "depthwise.bias",
        "pointwise.weight",
        "pointwise.bias",
    ]


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 3, 3)])
def test_is_the_product_of_its_halves(stride: int, padding: int, dilation: int) -> None:
    """The same as one ordinary convolution with the outer product of both weights."""
    torch.manual_seed(0)
    layer = DepthwiseSeparableConv2d(4, 6, 3, stride, padding, dilation).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_()
    depthwise, pointwise = layer.depthwise, layer.pointwise
    weight = pointwise.weight * depthwise.weight[:, 0]  # (6, 4, 1, 1) x (4, 3, 3)
    bias = pointwise.bias + (pointwise.weight[:, :, 0, 0] * depthwise.bias).sum(1)
    x = torch.randn(2, 4, 9, 11, dtype=torch.float64)
    torch.testing.assert_close(layer(x), conv2d(x, weight, bias, stride, padding, dilation))


def test_initialization_keeps_the_variance() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 256, 48, 48)
    layer = DepthwiseSeparableConv2d(256, 256, 3)
    with torch.no_grad():
        assert float(layer.depthwise(x).var()) == pytest.approx(1, rel=0.15)
        assert float(layer(x).var()) == pytest.approx(1, rel=0.15)
    assert not layer.depthwise.bias.any()
    assert not layer.pointwise.bias.any()


def test_norm_of_a_depthwise_weight_is_that_of_its_dense_form() -> None:
    torch.manual_seed(0)
    weight = 3 * torch.randn(8, 1, 5, 5)
    normed = LargestKernelNorm()(weight)
    torch.testing.assert_close(normed / normed.norm(), weight / weight.norm())
    dense = torch.zeros(8, 8, 25)
    for channel in range(8):
        dense[channel, channel] = normed[channel].flatten()
    assert float(torch.linalg.matrix_norm(dense.flatten(1), ord=2)) == pytest.approx(1, abs=1e-6)
    assert LargestKernelNorm()(torch.zeros(8, 1, 5, 5)).isfinite().all()


def test_spectral_norm_of_both_halves() -> None:
    torch.manual_seed(0)
    layer = add_spectral_norm(DepthwiseSeparableConv2d(8, 16, 5, 2))
    with torch.no_grad():
        for p in layer.parameters():
            p.mul_(7)
        for _ in range(200):
            layer(torch.zeros(1, 8, 9, 9))
        layer.eval()
        assert float(layer.depthwise.weight.flatten(1).norm(dim=1).max()) == pytest.approx(1, abs=1e-6)
        assert float(torch.linalg.matrix_norm(layer.pointwise.weight.flatten(1), ord=2)) == pytest.approx(1, abs=0.01)
    learnt = sum(p.numel() for p in layer.parameters())
    assert learnt == sum(p.numel() for p in DepthwiseSeparableConv2d(8, 16, 5, 2).parameters())
    layer.train()
    layer(torch.randn(1, 8, 9, 9)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())


def test_depthwise_is_a_torch_convolution() -> None:
    assert isinstance(DepthwiseSeparableConv2d(2, 2, 3).depthwise, nn.Conv2d)
