"""Convolutions that take the gradient of their weights in another layout: the same function, on every machine."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from lit_inpaint.nets.cpu import convolution, depthwise_convolution
from lit_inpaint.nets.cpu.convolution import Conv2d, ConvTranspose2d, nchw
from lit_inpaint.nets.cpu.depthwise_convolution import DepthwiseConv2d
from lit_inpaint.nets.partial_conv import PartialConv2d, conv2d_of_doubled

Make = Callable[[type[nn.Module], type[nn.Module], type[nn.Module]], nn.Module]

LAYERS: dict[str, Make] = {
    "plain": lambda c, t, d: c(16, 24, 3, padding=1),
    "stride, no bias": lambda c, t, d: c(16, 24, 4, stride=2, padding=1, bias=False),
    "dilated, replicated": lambda c, t, d: c(16, 8, 3, padding=2, dilation=2, padding_mode="replicate"),
    "to few channels": lambda c, t, d: c(16, 3, 7, padding=3),
    "transposed": lambda c, t, d: t(16, 8, 4, stride=2, padding=1),
    "transposed, stride 1": lambda c, t, d: t(16, 3, 5, padding=2),
    "depthwise 5x5": lambda c, t, d: d(16, 16, 5, padding=2, groups=16),
}


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever this machine is, the ways of one without AVX-512 are gone; the list says which."""
    used = list[str]()
    for module in (convolution, depthwise_convolution):
        monkeypatch.setattr(module, "lacks_avx512", lambda: True)
    for owner, name in ((convolution._Convolution, "dense"), (depthwise_convolution._GroupedGradient, "depthwise")):
        backward = owner.backward

        def watched(ctx: Any, *gradients: Tensor, backward: Any = backward, name: str = name) -> Any:
            used.append(name)
            return backward(ctx, *gradients)

        monkeypatch.setattr(owner, "backward", staticmethod(watched))
    return used


def ours_depthwise(*arguments: Any, **options: Any) -> DepthwiseConv2d:
    channels, _, kernel = arguments
    return DepthwiseConv2d(channels, kernel, padding=options["padding"])


@pytest.mark.parametrize("input_layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_torchs(name: str, input_layout: torch.memory_format, avx2: list[str]) -> None:
    torch.manual_seed(0)
    ours = LAYERS[name](Conv2d, ConvTranspose2d, ours_depthwise).to(memory_format=torch.channels_last)
    exact = LAYERS[name](nn.Conv2d, nn.ConvTranspose2d, nn.Conv2d).double()
    exact.load_state_dict(ours.state_dict())
    x = torch.randn(2, 16, 12, 10).to(memory_format=input_layout).requires_grad_()
    y = x.detach().double().requires_grad_()
    output, expected = ours(x), exact(y)
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)
    gradient = torch.randn_like(output)
    output.backward(gradient)
    expected.backward(gradient.double())
    assert avx2 == ["depthwise" if "depthwise" in name else "dense"]
    pairs = [(x.grad, y.grad), *((p.grad, q.grad) for p, q in zip(ours.parameters(), exact.parameters(), strict=True))]
    for found, wanted in pairs:
        assert found is not None
        assert wanted is not None
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("frozen", ["input", "weights", "all"])
def test_only_wanted_gradients_are_computed(frozen: str, avx2: list[str]) -> None:
    layer = Conv2d(16, 8, 3).to(memory_format=torch.channels_last)
    x = torch.randn(1, 16, 8, 8, requires_grad=frozen == "weights")
    layer.requires_grad_(frozen == "input")
    if frozen == "all":
        assert not layer(x).requires_grad
        return
    layer(x).sum().backward()
    assert (x.grad is not None, layer.weight.grad is not None) == (frozen == "weights", frozen == "input")
    assert avx2 == (["dense"] if frozen == "input" else []), "frozen weights have no slow gradient to go around"


def test_low_precision_goes_the_usual_way(avx2: list[str]) -> None:
    layer = Conv2d(16, 8, 3).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 16, 8, 8)).float().sum().backward()
    layer.double()(torch.randn(1, 16, 8, 8).double()).sum().backward()
    assert avx2 == []


def test_nchw() -> None:
    for channels in (3, 16, 33):
        x = torch.randn(2, channels, 5, 7).contiguous(memory_format=torch.channels_last)
        assert nchw(x).is_contiguous()
        assert torch.equal(nchw(x), x)


def test_doubled_and_convolved_at_once() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    expected = conv2d(interpolate(x, scale_factor=2.0), weight, padding=1)
    torch.testing.assert_close(conv2d_of_doubled(x, weight), expected)
    torch.autograd.gradcheck(conv2d_of_doubled, (x, weight))


@pytest.mark.parametrize("size", [(32, 32), (31, 40), (6, 6)])
def test_a_partial_convolution_of_doubled_features(size: tuple[int, int]) -> None:
    """As two convolutions where the map is large and even, as one of both elsewhere."""
    torch.manual_seed(0)
    height, width = size
    layer = PartialConv2d(24, 8, 3, padding=1)
    below = torch.randn(2, 16, -(-height // 2), -(-width // 2))
    beside = torch.randn(2, 8, height, width)
    channels = torch.randint(25, (2, 1, height, width)).float()
    doubled = interpolate(below, scale_factor=2.0)[..., :height, :width]
    expected, known = layer.convolve(torch.cat([doubled, beside], dim=1), channels)
    found, known_too = layer.convolve(beside, channels, below)
    assert torch.equal(known, known_too)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
