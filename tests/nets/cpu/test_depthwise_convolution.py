"""Depthwise convolution against torch's in double precision: outputs and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lit_inpaint.nets.cpu.depthwise_convolution import CPUDepthwiseConv2d, conv2d_by_interleaving
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers

LAYERS = [
    (3, 1, 0, 1),
    (3, 1, 1, 1),
    (5, 1, 2, 1),
    (7, 1, 1, 1),
    (5, 2, 2, 1),
    (3, 1, 0, 2),
    (3, 1, 4, 4),
    (3, 1, 5, 3),
    (5, 1, 0, 2),
    (3, 2, 2, 2),
]


def pair(kernel: int, stride: int, padding: int, dilation: int, channels: int = 6) -> tuple[nn.Module, nn.Conv2d]:
    """Return a fast layer and torch's with the same weights, the latter in double precision."""
    torch.manual_seed(0)
    fast = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels)
    plain = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels).double()
    plain.load_state_dict(fast.state_dict())
    use_fast_cpu_layers(fast)
    assert isinstance(fast, CPUDepthwiseConv2d)
    return fast, plain


def learn(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Return output and gradients of input, weight and bias; upstream gradients differ from pixel to pixel."""
    x = x.clone().requires_grad_()
    y = layer(x)
    (y.square() * torch.linspace(0, 1, y[0].numel(), dtype=y.dtype).view(y[0].shape)).mean().backward()
    found = [y.detach(), x.grad, *(p.grad for p in layer.parameters())]
    return [tensor.double() for tensor in found if tensor is not None]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("size", [(13, 17), (16, 16)])
def test_equals_torchs_grouped_convolution(layer: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    fast, plain = pair(*layer)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    expected = learn(plain, x)
    for found, wanted in zip(learn(fast.double(), x), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), expected[0], atol=1e-12, rtol=1e-9)


def test_gradients_of_interleaving() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 2, 8, 7), torch.randn(2, 1, 3, 3), torch.randn(2)
    arguments = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    assert torch.autograd.gradcheck(lambda x, weight, bias: conv2d_by_interleaving(x, weight, bias, 3), arguments)
    assert torch.autograd.gradgradcheck(lambda x, weight, bias: conv2d_by_interleaving(x, weight, bias, 3), arguments)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 1, 2), (3, 1, 4), (3, 2, 1), (5, 2, 1), (5, 1, 1)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_under_bf16(kernel: int, stride: int, dilation: int, channels_last: bool) -> None:
    """In PyTorch 2.15 the weight gradient of a dilated, channels-last, bfloat16 one is wrong by its own size and more.

    On maps of fewer than some 36 pixels a side it is right.
    """
    fast, plain = pair(kernel, stride, 0, dilation, channels=64)
    x = torch.randn(2, 64, 40, 40).bfloat16().float()
    expected = learn(plain, x.double())
    if channels_last:
        x, fast = x.to(memory_format=torch.channels_last), fast.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found = learn(fast, x)
    for name, gradient, wanted in zip(("output", "input", "weight", "bias"), found, expected, strict=True):
        assert float((gradient - wanted).abs().max() / wanted.abs().max()) < 0.02, name


def test_evaluation_and_training_agree() -> None:
    fast, _ = pair(3, 1, 4, 4)
    x = torch.randn(2, 6, 16, 16)
    with torch.no_grad():
        expected = fast(x)
    torch.testing.assert_close(fast(x), expected)
