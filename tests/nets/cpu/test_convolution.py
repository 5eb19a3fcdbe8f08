"""Convolutions whose weight gradient is computed in another layout equal torch's on every machine."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_inpaint.nets.cpu import convolution, depthwise_convolution
from lit_inpaint.nets.cpu.convolution import CPUConv2d, nchw
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Conv2d(16, 24, 3, padding=1),
    "stride, no bias": lambda: nn.Conv2d(16, 24, 4, stride=2, padding=1, bias=False),
    "dilated, replicated": lambda: nn.Conv2d(16, 8, 3, padding=2, dilation=2, padding_mode="replicate"),
    "to few channels": lambda: nn.Conv2d(16, 3, 7, padding=3),
    "transposed": lambda: nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1),
    "transposed, stride 1": lambda: nn.ConvTranspose2d(16, 3, 5, padding=2),
    "depthwise 5x5": lambda: nn.Conv2d(16, 16, 5, padding=2, groups=16),
}


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Select the code for CPUs without AVX-512 on every machine; the list names the backward passes that ran."""
    used = list[str]()
    for module in (convolution, depthwise_convolution):
        monkeypatch.setattr(module, "lacks_avx512", lambda: True)
    for owner, name in (
        (convolution._NCHWWeightGradient, "dense"),
        (depthwise_convolution._GroupedWeightGradient, "depthwise"),
    ):
        backward = owner.backward

        def watched(ctx: Any, *gradients: Tensor, backward: Any = backward, name: str = name) -> Any:
            used.append(name)
            return backward(ctx, *gradients)

        monkeypatch.setattr(owner, "backward", staticmethod(watched))
    return used


@pytest.mark.parametrize("input_layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_equal_torchs(name: str, input_layout: torch.memory_format, avx2: list[str]) -> None:
    torch.manual_seed(0)
    fast, exact = LAYERS[name]().to(memory_format=torch.channels_last), LAYERS[name]().double()
    exact.load_state_dict(fast.state_dict())
    use_fast_cpu_layers(fast)
    x = torch.randn(2, 16, 12, 10).to(memory_format=input_layout).requires_grad_()
    y = x.detach().double().requires_grad_()
    output, expected = fast(x), exact(y)
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)
    gradient = torch.randn_like(output)
    output.backward(gradient)
    expected.backward(gradient.double())
    assert avx2 == ["depthwise" if "depthwise" in name else "dense"]
    pairs = [(x.grad, y.grad), *((p.grad, q.grad) for p, q in zip(fast.parameters(), exact.parameters(), strict=True))]
    for found, wanted in pairs:
        assert found is not None
        assert wanted is not None
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
@pytest.mark.parametrize(("c_out", "kernel", "padding"), [(3, 7, 3), (1, 4, 2), (4, (3, 5), (1, 0))])
def test_few_outputs_equal_torchs(
    c_out: int, kernel: Any, padding: Any, padding_mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    to_few = convolution._convolve_to_few
    monkeypatch.setattr(convolution, "_convolve_to_few", lambda *arguments: used.append(True) or to_few(*arguments))
    torch.manual_seed(0)
    exact = nn.Conv2d(6, c_out, kernel, padding=padding, padding_mode=padding_mode).to(memory_format=torch.channels_last)
    fast = copy.deepcopy(exact)
    use_fast_cpu_layers(fast)
    x = torch.randn(2, 6, 9, 12)
    torch.testing.assert_close(fast(x), exact(x), rtol=1e-5, atol=1e-5)
    for layer in (fast, exact):
        layer(x).square().sum().backward()
    assert fast.weight.grad is not None
    torch.testing.assert_close(fast.weight.grad, exact.weight.grad, rtol=1e-4, atol=1e-4)
    assert len(used) == 2
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        low = fast(x)
        assert low.dtype == torch.bfloat16
        error, usual = ((y.double() - exact.double()(x.double())).abs().max() for y in (low, exact.float()(x)))
    assert error < 2 * usual, "sums of rows are in float32"


@pytest.mark.parametrize("frozen", ["input", "weights", "all"])
def test_only_needed_gradients_are_computed(frozen: str, avx2: list[str]) -> None:
    layer = CPUConv2d(16, 8, 3).to(memory_format=torch.channels_last)
    x = torch.randn(1, 16, 8, 8, requires_grad=frozen == "weights")
    layer.requires_grad_(frozen == "input")
    if frozen == "all":
        assert not layer(x).requires_grad
        return
    layer(x).sum().backward()
    assert (x.grad is not None, layer.weight.grad is not None) == (frozen == "weights", frozen == "input")
    assert avx2 == (["dense"] if frozen == "input" else []), "frozen weights have no slow gradient to avoid"


def test_other_precisions_use_torchs_backward(avx2: list[str]) -> None:
    layer = CPUConv2d(16, 8, 3).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 16, 8, 8)).float().sum().backward()
    layer.double()(torch.randn(1, 16, 8, 8).double()).sum().backward()
    assert avx2 == []


def test_3x3_depthwise_uses_torchs_backward(avx2: list[str]) -> None:
    """Torch's kernel is the faster one there."""
    layer = nn.Conv2d(16, 16, 3, padding=1, groups=16).to(memory_format=torch.channels_last)
    use_fast_cpu_layers(layer)
    layer(torch.randn(1, 16, 8, 8)).sum().backward()
    assert avx2 == []


def test_nchw() -> None:
    for channels in (3, 16, 33):
        x = torch.randn(2, channels, 5, 7).contiguous(memory_format=torch.channels_last)
        assert nchw(x).is_contiguous()
        assert torch.equal(nchw(x), x)


def test_transposed_convolution_to_few_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    to_few = convolution._convolve_to_few
    monkeypatch.setattr(convolution, "_convolve_to_few", lambda *arguments: used.append(True) or to_few(*arguments))
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(16, 3, (5, 4), padding=(2, 1)).to(memory_format=torch.channels_last)
    x = torch.randn(2, 16, 9, 8)
    expected = layer(x)
    wanted = torch.autograd.grad(expected.square().sum(), [*layer.parameters()])
    use_fast_cpu_layers(layer)
    output = layer(x)
    assert used
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(output.square().sum(), [*layer.parameters()])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


def test_compiled_replicate_padding_leaves_out_torchs_whose_gradient_cannot_be_compiled() -> None:
    operations: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        operations.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    layer = nn.Conv2d(4, 3, 3, padding=2, dilation=2, padding_mode="replicate").to(memory_format=torch.channels_last)
    plain = copy.deepcopy(layer)
    use_fast_cpu_layers(layer)
    inputs = [torch.rand(2, 4, 7, 6).to(memory_format=torch.channels_last).requires_grad_() for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    outputs = [torch.compile(layer, backend=backend)(inputs[0]), plain(inputs[1])]
    for output in outputs:
        output.square().sum().backward()
    assert not any("pad" in operation for operation in operations)
    torch.testing.assert_close(outputs[0], outputs[1])
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)


@pytest.mark.parametrize("bias", [False, True])
def test_bfloat16_weight_gradient_of_a_map_within_the_padding_is_all_computed(bias: bool) -> None:
    """PyTorch 2.15 leaves the taps that only meet padding uninitialized."""
    layer = nn.Conv2d(64, 64, 3, 2, 1, bias=bias).to(memory_format=torch.channels_last)
    use_fast_cpu_layers(layer)
    x = torch.rand(2, 64, 1, 1)
    for _ in range(5):
        polluted = [torch.full((2**size,), float("nan")) for size in range(8, 20) for _ in range(4)]
        del polluted
        layer.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(x)
        output.float().sum().backward()
        assert output.dtype == torch.bfloat16
        assert layer.weight.grad is not None
        expected = torch.zeros_like(layer.weight)
        expected[:, :, 1, 1] = x.sum((0, 2, 3))
        torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-2, atol=1e-2)
