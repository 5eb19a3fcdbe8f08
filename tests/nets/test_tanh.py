"""Tanh by way of the sigmoid equals tanh, with its first and second derivatives."""

from __future__ import annotations

import pytest
import torch

from lit_inpaint.nets.tanh import Tanh, _SigmoidTanh


def test_equals_tanh_at_small_large_and_infinite_values() -> None:
    x = torch.cat([torch.linspace(-12, 12, 10001), torch.tensor([0.0, 1e-7, -1e-7, 200, -200, torch.inf, -torch.inf])])
    layer = Tanh()
    assert (layer(x) - x.double().tanh()).abs().max() < 2e-7
    assert layer(torch.tensor(torch.nan)).isnan()


def test_derivatives() -> None:
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_SigmoidTanh.apply, (x,))
    assert torch.autograd.gradgradcheck(_SigmoidTanh.apply, (x,))


@pytest.mark.parametrize("channels_last", [False, True])
def test_keeps_the_memory_layout(channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert Tanh()(torch.randn(2, 3, 4, 5).to(memory_format=layout)).is_contiguous(memory_format=layout)
