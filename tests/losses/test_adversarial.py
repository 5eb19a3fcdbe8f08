"""The adversarial losses against their formulas, logit by logit in Python's double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol, cast

import pytest
import torch
from torch import Tensor

from lit_inpaint.losses.adversarial import (
    Logits,
    OverScales,
    bce_fake,
    bce_real,
    hinge_fake,
    hinge_generator,
    hinge_real,
    least_squares_fake,
    least_squares_generator,
    least_squares_real,
    minimax_generator,
    non_saturating_generator,
    wasserstein_fake,
    wasserstein_generator,
    wasserstein_real,
)


class Loss(Protocol):
    __name__: str

    def __call__(self, logits: Logits, over_scales: OverScales = "sum") -> Tensor: ...


PerLogit = Callable[[float], float]


def probability(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


# Loss, cost of one logit, the cost's derivative by the logit.
CASES: list[tuple[Loss, PerLogit, PerLogit]] = [
    (bce_real, lambda x: -math.log(probability(x)), lambda x: probability(x) - 1),
    (bce_fake, lambda x: -math.log(1 - probability(x)), probability),
    (minimax_generator, lambda x: math.log(1 - probability(x)), lambda x: -probability(x)),
    (non_saturating_generator, lambda x: -math.log(probability(x)), lambda x: probability(x) - 1),
    (hinge_real, lambda x: 1 - x if x < 1 else 0.0, lambda x: -1.0 if x < 1 else 0.0),
    (hinge_fake, lambda x: 1 + x if x > -1 else 0.0, lambda x: 1.0 if x > -1 else 0.0),
    (hinge_generator, lambda x: -x, lambda x: -1.0),
    (least_squares_real, lambda x: (x - 1) ** 2, lambda x: 2 * (x - 1)),
    (least_squares_fake, lambda x: x**2, lambda x: 2 * x),
    (least_squares_generator, lambda x: (x - 1) ** 2, lambda x: 2 * (x - 1)),
    (wasserstein_real, lambda x: -x, lambda x: -1.0),
    (wasserstein_fake, lambda x: x, lambda x: 1.0),
    (wasserstein_generator, lambda x: -x, lambda x: -1.0),
]
each = pytest.mark.parametrize(("loss", "cost", "slope"), CASES, ids=[case[0].__name__ for case in CASES])
each_loss = pytest.mark.parametrize("loss", [case[0] for case in CASES], ids=[case[0].__name__ for case in CASES])

# The sign of a change of the logits that lowers the player's loss.
WANTS_HIGHER = [
    bce_real,
    minimax_generator,
    non_saturating_generator,
    hinge_real,
    hinge_generator,
    wasserstein_real,
    wasserstein_generator,
]
WANTS_LOWER = [bce_fake, hinge_fake, wasserstein_fake]
WANTS_A_VALUE = {least_squares_real: 1.0, least_squares_fake: 0.0, least_squares_generator: 1.0}


def draw(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [(3 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_() for shape in shapes]


def mean_of(values: Tensor, function: PerLogit) -> float:
    numbers = [function(x) for x in values.flatten().tolist()]
    return sum(numbers) / len(numbers)


def mapped(values: Tensor, function: PerLogit, over: float) -> Tensor:
    return torch.tensor([function(x) / over for x in values.flatten().tolist()], dtype=values.dtype).reshape(values.shape)


def test_no_loss_is_left_out() -> None:
    assert len({case[0] for case in CASES}) == 13
    assert {case[0] for case in CASES} == {*WANTS_HIGHER, *WANTS_LOWER, *WANTS_A_VALUE}


@each
@pytest.mark.parametrize("shape", [(7,), (2, 1), (3, 1, 5, 4)])
def test_value_and_gradient(loss: Loss, cost: PerLogit, slope: PerLogit, shape: tuple[int, ...]) -> None:
    (logits,) = draw(shape)
    value = loss(logits)
    assert value.shape == ()
    assert value.item() == pytest.approx(mean_of(logits, cost), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, mapped(logits.detach(), slope, logits.numel()), rtol=1e-9, atol=1e-12)


@each
@pytest.mark.parametrize(("over_scales", "divisor"), [("sum", 1), ("mean", 3)])
def test_several_scales(loss: Loss, cost: PerLogit, slope: PerLogit, over_scales: OverScales, divisor: int) -> None:
    """Scales of different sizes have equal weight, added or averaged."""
    scales = draw((2, 1, 6, 5), (2, 1, 2, 2), (2, 1))
    value = loss(scales, over_scales)
    assert value.shape == ()
    assert value.item() == pytest.approx(sum(mean_of(scale, cost) for scale in scales) / divisor, rel=1e-12)
    for scale, gradient in zip(scales, torch.autograd.grad(value, scales), strict=True):
        torch.testing.assert_close(gradient, mapped(scale.detach(), slope, scale.numel() * divisor), rtol=1e-9, atol=1e-12)


@each_loss
def test_scales_are_added_by_default(loss: Loss) -> None:
    scales = draw((2, 1, 3, 3), (2, 1, 2, 2))
    assert torch.equal(loss(scales), loss(tuple(scales), over_scales="sum"))
    assert not torch.isclose(loss(scales), loss(scales, over_scales="mean"))


@each_loss
@pytest.mark.parametrize("over_scales", ["sum", "mean"])
def test_one_scale_as_a_tensor_or_in_a_sequence(loss: Loss, over_scales: OverScales) -> None:
    (logits,) = draw((2, 1, 3, 3))
    assert torch.equal(loss([logits], over_scales), loss(logits))
    assert torch.equal(loss(logits, over_scales), loss(logits))


@each
@pytest.mark.parametrize("logit", [-1e4, -100.0, 100.0, 1e4])
def test_extreme_logits_stay_finite(loss: Loss, cost: PerLogit, slope: PerLogit, logit: float) -> None:
    logits = torch.full((2, 1, 3, 3), logit, requires_grad=True)
    value = loss(logits)
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, mapped(logits.detach(), slope, 18))


@pytest.mark.parametrize("loss", [bce_real, bce_fake, minimax_generator, non_saturating_generator])
@pytest.mark.parametrize("logit", [-1e30, 1e30])
def test_logarithms_are_unbounded(loss: Loss, logit: float) -> None:
    logits = torch.full((4,), logit, requires_grad=True)
    value = loss(logits)
    value.backward()
    assert logits.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("loss", "logit", "expected"),
    [
        (bce_real, -1e4, 1e4),
        (bce_fake, 1e4, 1e4),
        (minimax_generator, 1e4, -1e4),
        (non_saturating_generator, -1e4, 1e4),
        (hinge_real, -1e4, 10_001.0),
        (hinge_real, 1e4, 0.0),
        (hinge_fake, 1e4, 10_001.0),
        (hinge_fake, -1e4, 0.0),
        (least_squares_fake, 1e4, 1e8),
    ],
)
def test_losses_of_confident_logits(loss: Loss, logit: float, expected: float) -> None:
    assert float(loss(torch.full((4,), logit))) == expected


def steps(loss: Loss, start: float) -> list[float]:
    """Return the path of a logit under gradient descent."""
    x = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    path = [start]
    for _ in range(40):
        (gradient,) = torch.autograd.grad(loss(x), x)
        x = (x - 0.1 * gradient).detach().requires_grad_()
        path.append(x.item())
    return path


@pytest.mark.parametrize("loss", WANTS_HIGHER)
def test_descent_raises_logits(loss: Loss) -> None:
    path = steps(loss, -0.5)
    assert all(a <= b for a, b in pairwise(path))
    assert path[-1] > 0.9


@pytest.mark.parametrize("loss", WANTS_LOWER)
def test_descent_lowers_logits(loss: Loss) -> None:
    path = steps(loss, 0.5)
    assert all(a >= b for a, b in pairwise(path))
    assert path[-1] < -0.8


@pytest.mark.parametrize(("loss", "wanted"), WANTS_A_VALUE.items())
@pytest.mark.parametrize("start", [-3.0, 5.0])
def test_least_squares_descends_to_its_label(loss: Loss, wanted: float, start: float) -> None:
    assert steps(loss, start)[-1] == pytest.approx(wanted, abs=0.01)


def test_gradients_where_the_discriminator_is_confident() -> None:
    sure = torch.tensor([-20.0], requires_grad=True)
    (flat,) = torch.autograd.grad(minimax_generator(sure), sure)
    (steep,) = torch.autograd.grad(non_saturating_generator(sure), sure)
    assert abs(float(flat)) < 1e-8
    assert float(steep) == pytest.approx(-1.0)


@each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_converted_first(loss: Loss, cost: PerLogit, slope: PerLogit, dtype: torch.dtype) -> None:
    """As exact as the logits allow: 1 - x, squares and means are not rounded to half precision."""
    scales = [(100 * scale.detach()).to(dtype).requires_grad_() for scale in draw((2, 1, 16, 16), (2, 1, 8, 8))]
    scales[0].data[0, 0, 0, 0] = 300.0  # its square is beyond float16
    exact = [scale.detach().double() for scale in scales]
    value = loss(scales)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(exact).float(), rtol=1e-5, atol=1e-6)
    for scale, gradient in zip(scales, torch.autograd.grad(value, scales), strict=True):
        assert gradient.dtype == dtype
        torch.testing.assert_close(
            gradient, mapped(scale.detach().double(), slope, scale.numel()).to(dtype), rtol=1e-2, atol=1e-6
        )


def test_double_precision_is_kept() -> None:
    assert bce_real(draw((3,))[0]).dtype == torch.float64


@each_loss
def test_autocast_does_not_change_a_loss(loss: Loss) -> None:
    scales = [scale.detach().bfloat16() for scale in draw((2, 1, 16, 16), (2, 1, 8, 8))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(scales)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(scales))


@each_loss
def test_logits_are_not_changed(loss: Loss) -> None:
    logits = draw((2, 1, 3, 3))[0].detach()
    before = logits.clone()
    loss([logits, logits])
    assert torch.equal(logits, before)


def test_small_probabilities_are_not_rounded_away() -> None:
    """log(1 - sigmoid(-30)) is -9.4e-14, which 1 - sigmoid rounds to log(1) = 0 in single precision."""
    logits = torch.full((1,), -30.0)
    expected = math.log1p(math.exp(-30))
    assert float(bce_fake(logits)) == pytest.approx(expected, rel=1e-5)
    assert float(minimax_generator(logits)) == pytest.approx(-expected, rel=1e-5)
    assert float(non_saturating_generator(-logits)) == pytest.approx(expected, rel=1e-5)


def test_logits_of_0() -> None:
    half = torch.zeros(5)
    log2 = 0.6931472
    assert float(bce_real(half)) == pytest.approx(log2)
    assert float(bce_fake(half)) == pytest.approx(log2)
    assert float(minimax_generator(half)) == pytest.approx(-log2)
    assert float(non_saturating_generator(half)) == pytest.approx(log2)


def test_no_scale_raises() -> None:
    with pytest.raises(ValueError, match="no scale"):
        hinge_real([])


def test_an_unknown_over_scales_raises() -> None:
    with pytest.raises(ValueError, match="'avg'"):
        hinge_real(torch.zeros(3), cast(OverScales, "avg"))
