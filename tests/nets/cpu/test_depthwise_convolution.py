"""Against PyTorch's own grouped convolution, and its gradients against double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lit_inpaint.nets.cpu.depthwise_convolution import DepthwiseConv2d, dilated_by_interleaving

LAYERS = [(3, 1, 0, 1), (3, 1, 1, 1), (5, 2, 2, 1), (3, 1, 0, 2), (3, 1, 4, 4), (3, 1, 5, 3), (5, 1, 0, 2)]


def pair(kernel: int, stride: int, padding: int, dilation: int, channels: int = 6) -> tuple[DepthwiseConv2d, nn.Conv2d]:
    """Ours and PyTorch's with the same weights, the latter in double precision."""
    torch.manual_seed(0)
    ours = DepthwiseConv2d(channels, kernel, stride, padding, dilation)
    plain = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels).double()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def learn(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, and gradients of input, weight and bias; upstream gradients differ from pixel to pixel."""
    x = x.clone().requires_grad_()
    y = layer(x)
    (y.square() * torch.linspace(0, 1, y[0].numel(), dtype=y.dtype).view(y[0].shape)).mean().backward()
    found = [y.detach(), x.grad, *(p.grad for p in layer.parameters())]
    return [tensor.double() for tensor in found if tensor is not None]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("size", [(13, 17), (16, 16)])
def test_is_pytorchs_grouped_convolution(layer: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    ours, plain = pair(*layer)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    expected = learn(plain, x)
    for found, wanted in zip(learn(ours.double(), x), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), expected[0], atol=1e-12, rtol=1e-9)


def test_gradients_of_interleaving() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 2, 8, 7), torch.randn(2, 1, 3, 3), torch.randn(2)
    arguments = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    assert torch.autograd.gradcheck(lambda x, weight, bias: dilated_by_interleaving(x, weight, bias, 3), arguments)
    assert torch.autograd.gradgradcheck(lambda x, weight, bias: dilated_by_interleaving(x, weight, bias, 3), arguments)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 1, 2), (3, 1, 4), (3, 2, 1), (5, 2, 1)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_under_bf16(kernel: int, stride: int, dilation: int, channels_last: bool) -> None:
    """In PyTorch 2.15 the weights' gradient of a dilated, channels-last, bfloat16 one is wrong by its own size and more.

    Not so on maps of fewer than some 36 pixels a side.
    """
    ours, plain = pair(kernel, stride, 0, dilation, channels=64)
    x = torch.randn(2, 64, 40, 40).bfloat16().float()
    expected = learn(plain, x.double())
    if channels_last:
        x, ours = x.to(memory_format=torch.channels_last), ours.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found = learn(ours, x)
    for name, ours_, wanted in zip(("output", "input", "weight", "bias"), found, expected, strict=True):
        assert float((ours_ - wanted).abs().max() / wanted.abs().max()) < 0.02, name


def test_evaluation_and_training_agree() -> None:
    ours, _ = pair(3, 1, 4, 4)
    x = torch.randn(2, 6, 16, 16)
    with torch.no_grad():
        expected = ours(x)
    torch.testing.assert_close(ours(x), expected)


def test_a_stride_and_a_dilation() -> None:
    with pytest.raises(ValueError, match="stride 2 and dilation 2"):
        DepthwiseConv2d(4, 3, stride=2, dilation=2)
