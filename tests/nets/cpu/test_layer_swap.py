"""The swap changes classes only: same objects, state-dict keys, outputs, and parametrizations."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from lit_inpaint.nets.cpu.convolution import CPUConv2d, CPUConvTranspose2d
from lit_inpaint.nets.cpu.depthwise_convolution import CPUDepthwiseConv2d
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers
from lit_inpaint.nets.cpu.partial_convolution import CPUPartialConv2d
from lit_inpaint.nets.cpu.spectral_convolution import CPUSpectralConv2d
from lit_inpaint.nets.partial_conv import PartialConv2d


class OwnConv2d(nn.Conv2d):
    """A subclass of another library."""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8),
        nn.Sequential(nn.ConvTranspose2d(8, 8, 2, stride=2), nn.ReLU()),
        nn.Conv2d(8, 8, (3, 5), padding=(1, 2), groups=8),
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect"),
        OwnConv2d(8, 2, 1),
    )


def learn(model: nn.Module) -> list[Tensor]:
    """Return the output and the gradients of one step."""
    model.zero_grad()
    output = model(torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(1)))
    output.square().sum().backward()
    return [output.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def test_supported_layers_change_their_class_and_others_keep_it() -> None:
    model = network()
    before, layers, keys = learn(model), list(model.modules()), list(model.state_dict())
    for _ in range(2):  # a second call changes nothing
        use_fast_cpu_layers(model)
        found = [type(layer) for layer in model.modules() if not isinstance(layer, nn.Sequential | nn.ReLU)]
        assert found[:3] == [CPUConv2d, CPUDepthwiseConv2d, CPUConvTranspose2d]
        assert found[3:] == [nn.Conv2d] * 4 + [OwnConv2d]
    assert all(old is new for old, new in zip(layers, model.modules(), strict=True))
    assert list(model.state_dict()) == keys
    for found_value, wanted in zip(learn(model), before, strict=True):
        torch.testing.assert_close(found_value, wanted, rtol=1e-4, atol=1e-4)


def test_partial_convolutions_and_the_convolutions_in_them() -> None:
    layer = PartialConv2d(3, 4, 3, padding=1)
    use_fast_cpu_layers(layer)
    assert type(layer) is CPUPartialConv2d
    assert type(layer.conv) is CPUConv2d


def test_spectral_norm_stays() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(spectral_norm(nn.Conv2d(4, 6, 3)), nn.Conv2d(6, 6, 3), spectral_norm(nn.Conv2d(6, 4, 3)))
    model = copy.deepcopy(plain)
    keys = list(model.state_dict())
    use_fast_cpu_layers(model)
    use_fast_cpu_layers(model)
    assert all(isinstance(layer, CPUConv2d) for layer in model)
    assert not any(isinstance(layer, CPUConv2d) for layer in plain)  # copies share the parametrized class until then
    assert [is_parametrized(layer) for layer in model] == [True, False, True]
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(learn(model), learn(plain))
    again = copy.deepcopy(model)
    assert isinstance(again[0], CPUConv2d)
    torch.testing.assert_close(learn(again), learn(model))
    remove_parametrizations(model[0], "weight")
    assert type(model[0]) is CPUSpectralConv2d
    learn(model)


def test_hooks_stay() -> None:
    layer, seen = nn.Conv2d(3, 4, 3), list[int]()
    layer.register_forward_hook(lambda module, args, output: seen.append(1))
    use_fast_cpu_layers(layer)
    layer(torch.randn(1, 3, 8, 8))
    assert seen == [1]


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(96, 96, 3, padding=1), (48, 48)),
        (nn.Conv2d(96, 96, 3, padding=1, bias=False), (46, 47)),
        (nn.Conv2d(96, 96, 3, padding=2, dilation=2), (48, 48)),
        (nn.Conv2d(4, 8, 7, padding=3), (16, 16)),
        (nn.Conv2d(16, 16, 3, padding=1, groups=16), (16, 16)),
        (nn.InstanceNorm2d(16, affine=True), (16, 16)),
    ],
)
def test_outputs_may_be_changed_in_place(layer: nn.Module, size: tuple[int, int]) -> None:
    """As by `nn.ReLU(inplace=True)`, which autograd refuses for a view that a function of its own returns."""
    channels = next(iter(layer.parameters())).shape
    x = torch.randn(1, channels[1] * getattr(layer, "groups", 1) if len(channels) > 1 else channels[0], *size)
    gradients = []
    for fast in (False, True):
        network = nn.Sequential(copy.deepcopy(layer), nn.ReLU(inplace=True)).to(memory_format=torch.channels_last)
        if fast:
            use_fast_cpu_layers(network)
        own = x.clone().requires_grad_()
        network(own).square().sum().backward()
        gradients.append([own.grad, *(parameter.grad for parameter in network.parameters())])
    for a, b in zip(*gradients, strict=True):
        assert a is not None
        assert b is not None
        assert float((a - b).abs().max()) < 1e-4 * float(a.abs().max())
