"""Dropout from random bytes: probability, independence, scale, gradient, layout, and where PyTorch's is used."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_inpaint.nets.dropout import Dropout


@pytest.mark.parametrize("p", [0.5, 0.25, 1 / 256, 255 / 256])
def test_probability_and_scale(p: float) -> None:
    torch.manual_seed(0)
    n = 2**20
    y = Dropout(p)(torch.ones(n))
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / (1 - p)])
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)


def test_numbers_of_one_word_are_independent() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(2**16, 8)) > 0).double()
    correlations = torch.corrcoef(kept.T) - torch.eye(8)
    assert correlations.abs().max() < 5 / 2**8
    assert (kept.mean(0) - 0.5).abs().max() < 5 / 2**9


def test_gradient_and_layout() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)


def test_follows_the_seed_and_bf16() -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(Dropout(0.5)(torch.ones(100, dtype=torch.bfloat16)))
    assert drawn[0].dtype == torch.bfloat16
    assert torch.equal(*drawn)


@pytest.mark.parametrize("p", [0.0, 0.1, 1.0])
def test_other_probabilities_are_torchs(p: float) -> None:
    x = torch.randn(50)
    torch.manual_seed(1)
    fast = Dropout(p)(x)
    torch.manual_seed(1)
    assert torch.equal(fast, nn.Dropout(p)(x))


def test_evaluation_changes_nothing() -> None:
    x = torch.randn(50)
    assert Dropout(0.5).eval()(x) is x
