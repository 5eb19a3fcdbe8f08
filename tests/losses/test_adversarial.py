"""The adversarial losses against the logarithms they stand for, in double precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lit_inpaint.losses.adversarial import bce_fake, bce_real, minimax_generator

Loss = Callable[[Tensor], Tensor]

# Loss, the formula in D = sigmoid(logit), and the formula's derivative by the logit; both per logit.
CASES: list[tuple[Loss, Loss, Loss]] = [
    (bce_real, lambda d: -torch.log(d), lambda d: d - 1),
    (bce_fake, lambda d: -torch.log(1 - d), lambda d: d),
    (minimax_generator, lambda d: torch.log(1 - d), lambda d: -d),
]
each = pytest.mark.parametrize(("loss", "formula", "derivative"), CASES, ids=[case[0].__name__ for case in CASES])


def probability(logits: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-logits))


@each
@pytest.mark.parametrize("shape", [(7,), (2, 1), (3, 1, 5, 4)])
def test_value_and_gradient(loss: Loss, formula: Loss, derivative: Loss, shape: tuple[int, ...]) -> None:
    logits = (3 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).requires_grad_()
    value = loss(logits)
    assert value.shape == ()
    d = probability(logits.detach())
    torch.testing.assert_close(value.detach(), formula(d).mean(), rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, derivative(d) / d.numel(), rtol=1e-12, atol=1e-14)


@each
@pytest.mark.parametrize("logit", [-1e30, -1e4, -100.0, 0.0, 100.0, 1e4, 1e30])
def test_extreme_logits_stay_finite(loss: Loss, formula: Loss, derivative: Loss, logit: float) -> None:
    logits = torch.full((2, 1, 3, 3), logit, requires_grad=True)
    value = loss(logits)
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    torch.testing.assert_close(logits.grad, derivative(probability(logits.detach())) / 18)


@pytest.mark.parametrize(
    ("loss", "logit", "expected"), [(bce_real, -1e4, 1e4), (bce_fake, 1e4, 1e4), (minimax_generator, 1e4, -1e4)]
)
def test_a_sure_mistake_costs_its_logit(loss: Loss, logit: float, expected: float) -> None:
    assert float(loss(torch.full((4,), logit))) == expected


def test_small_probabilities_are_not_rounded_away() -> None:
    """log(1 - sigmoid(-30)) is -9.4e-14, which 1 - sigmoid rounds to log(1) = 0 in single precision."""
    logits = torch.full((1,), -30.0)
    expected = torch.log1p(torch.exp(torch.tensor(-30.0, dtype=torch.float64)))
    assert float(bce_fake(logits)) == pytest.approx(float(expected), rel=1e-5)
    assert float(minimax_generator(logits)) == pytest.approx(-float(expected), rel=1e-5)


def test_an_undecided_discriminator() -> None:
    half = torch.zeros(5)
    log2 = 0.6931472
    assert float(bce_real(half)) == pytest.approx(log2)
    assert float(bce_fake(half)) == pytest.approx(log2)
    assert float(minimax_generator(half)) == pytest.approx(-log2)
