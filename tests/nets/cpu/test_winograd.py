"""Winograd's convolution computes the convolution and its gradients, and only runs where it is meant to."""

from __future__ import annotations

from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from lit_inpaint.nets.cpu import winograd
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers
from lit_inpaint.papers import GLCIC
from lit_inpaint.profiling.macs import count_params_macs


@pytest.mark.parametrize(
    ("taps", "padding", "dilation"),
    [(3, 1, 1), (3, 0, 1), (3, 2, 1), (3, 2, 2), (3, 0, 2), (3, 3, 3), (4, 1, 1), (4, 0, 1), (4, 3, 1), (4, 2, 2)],
)
@pytest.mark.parametrize("size", [(11, 9), (8, 12)])
def test_equals_conv2d_with_its_gradients(taps: int, padding: int, dilation: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, taps, taps, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    ours = winograd.convolve(x, weight, bias, padding, dilation)
    expected = conv2d(x, weight, bias, padding=padding, dilation=dilation)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)
    seed = torch.randn_like(expected)
    gradients = (torch.autograd.grad(y, (x, weight, bias), seed) for y in (ours, expected))
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)


def test_gradients_can_be_differentiated() -> None:
    x = torch.randn(1, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    convolve = partial(winograd.convolve, bias=None, padding=1, dilation=1)
    assert torch.autograd.gradcheck(convolve, (x, weight))
    assert torch.autograd.gradgradcheck(convolve, (x, weight), fast_mode=True)


@pytest.mark.parametrize("taps", [3, 4])
def test_rounding_errors_stay_below_four_times_those_of_onednn(taps: int) -> None:
    x = torch.randn(1, 96, 48, 48).relu().to(memory_format=torch.channels_last)
    weight = torch.randn(96, 96, taps, taps) / 96**0.5 / taps
    exact = conv2d(x.double(), weight.double(), padding=1)
    error = (winograd.convolve(x, weight, None, 1, 1) - exact).abs().max()
    assert error < 4 * (conv2d(x, weight, padding=1) - exact).abs().max()


def _calls(monkeypatch: pytest.MonkeyPatch, layer: nn.Module, x: Tensor, autocast: bool = False) -> int:
    """Count calls of `convolve`, and compare the layer's output with that of plain PyTorch."""
    calls: list[Tensor] = []
    original = winograd.convolve

    def recorded(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int) -> Tensor:
        calls.append(x)
        return original(x, weight, bias, padding, dilation)

    monkeypatch.setattr(winograd, "convolve", recorded)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = layer(x)
        use_fast_cpu_layers(layer)
        output = layer(x)
    assert torch.allclose(output, expected, rtol=0, atol=1e-5)
    return len(calls)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_wide_layers_use_it(monkeypatch: pytest.MonkeyPatch, mode: Literal["zeros", "reflect"]) -> None:
    x = torch.randn(2, 96, 32, 32)
    assert _calls(monkeypatch, nn.Conv2d(96, 96, 3, padding=2, dilation=2, padding_mode=mode), x) == 1
    assert _calls(monkeypatch, nn.Conv2d(96, 96, 4, padding=1, padding_mode=mode), x) == 1


def test_narrow_layers_small_maps_strides_and_bfloat16_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = torch.randn(2, 96, 32, 32)
    assert _calls(monkeypatch, nn.Conv2d(96, 64, 3, padding=1), wide) == 0
    assert _calls(monkeypatch, nn.Conv2d(96, 96, 3, padding=1), wide[:1]) == 0
    assert _calls(monkeypatch, nn.Conv2d(96, 96, 3, 2, padding=1), wide) == 0
    assert _calls(monkeypatch, nn.Conv2d(96, 96, 1), wide) == 0
    assert _calls(monkeypatch, nn.Conv2d(96, 96, 3, padding=1), wide, autocast=True) == 0


def test_memory_is_bounded() -> None:
    weight = torch.empty(256, 256, 3, 3, device="meta")
    sides = [
        side
        for side in (64, 256, 512, 1024)
        if winograd.is_faster(torch.empty(2, 256, side, side, device="meta"), weight, 1, 1)
    ]
    assert sides == [64, 256]


def test_macs_are_those_of_the_definition() -> None:
    model = GLCIC(size=32, local_size=16, global_layers=5, discriminator_width=4)
    expected = count_params_macs(model, 128).macs
    model.configure_model()
    assert count_params_macs(model, 128).macs == pytest.approx(expected, rel=1e-3)  # a border of the last convolution
