"""Convolutions with spectral norm and small outputs equal PyTorch's, through several steps of training."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers, use_torch_layers
from lit_inpaint.nets.cpu.spectral_convolution import CPUSpectralConv2d


def steps(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Train for two steps on two batches each, as a discriminator; return outputs, gradients, the norm's vectors."""
    found = []
    for _ in range(2):
        layer.zero_grad()
        own = x.clone().requires_grad_()
        outputs = [layer(own), layer(own.flip(3))]  # two power iterations before the backward
        (outputs[0].square().sum() - outputs[1].tanh().sum()).backward()
        assert own.grad is not None
        found += [
            *outputs,
            own.grad,
            *(parameter.grad.clone() for parameter in layer.parameters() if parameter.grad is not None),
        ]
        torch.optim.SGD(layer.parameters(), lr=0.01).step()
    layer.eval()
    return [tensor.detach() for tensor in (*found, layer(x), *layer.state_dict().values())]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "options"), [(4, {"stride": 2, "padding": 1}), (3, {"bias": False}), (1, {})])
def test_equals_pytorchs_spectral_norm(kernel: int, options: dict[str, int], memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    plain = spectral_norm(nn.Conv2d(40, 6, kernel, **options), n_power_iterations=2).double()
    fast = copy.deepcopy(plain)
    use_fast_cpu_layers(fast)
    assert not isinstance(plain, CPUSpectralConv2d)
    assert isinstance(fast, CPUSpectralConv2d)
    fast.to(memory_format=memory_format)
    x = torch.randn(2, 40, 4, 4, dtype=torch.float64)
    norm = fast.parametrizations.weight[0]
    with mock.patch.object(norm, "forward", side_effect=AssertionError("the weight was divided")):
        ours = steps(fast, x)
    for a, b in zip(ours, steps(plain, x), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)
    use_torch_layers(fast)
    assert not isinstance(fast, CPUSpectralConv2d)


def test_large_outputs_and_bfloat16_divide_the_weight() -> None:
    layer = spectral_norm(nn.Conv2d(4, 4, 3, padding=1))
    use_fast_cpu_layers(layer)
    with mock.patch.object(layer.parametrizations.weight[0], "forward", side_effect=AssertionError("divided")):
        layer(torch.randn(1, 4, 5, 5))  # 100 numbers of 144
        with pytest.raises(AssertionError, match="divided"):
            layer(torch.randn(1, 4, 6, 6))
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(AssertionError, match="divided"):
            layer(torch.randn(1, 4, 5, 5))


def test_gradients_can_be_differentiated() -> None:
    layer = spectral_norm(nn.Conv2d(4, 2, 3)).double()
    use_fast_cpu_layers(layer)
    layer.eval()
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = layer.parametrizations.weight.original

    def call(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"parametrizations.weight.original": weight}, (x,))

    assert torch.autograd.gradgradcheck(call, (x, weight.detach().requires_grad_()), fast_mode=True)
