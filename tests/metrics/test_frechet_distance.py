"""The Fréchet distance against scipy's matrix square root, pytorch-fid's function, and values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy import linalg

from lit_inpaint.metrics.frechet_distance import frechet_distance

pytestmark = pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # in pytorch-fid
Statistics = tuple[torch.Tensor, torch.Tensor]


def statistics(n: int, seed: int, spread: float, dimensions: int = 40) -> Statistics:
    """Mean and sample covariance of n vectors whose components' deviations span `spread` powers of ten."""
    rng = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -spread, dimensions, dtype=torch.float64)
    mix = torch.linalg.qr(torch.randn(dimensions, dimensions, generator=rng, dtype=torch.float64))[0]
    vectors = torch.randn(n, dimensions, generator=rng, dtype=torch.float64) * scale @ mix + 0.1 * seed
    return vectors.mean(dim=0), vectors.T.cov()


def by_scipy(first: Statistics, second: Statistics) -> float:
    (mean, covariance), (other_mean, other) = ((m.numpy(), c.numpy()) for m, c in (first, second))
    root = linalg.sqrtm(covariance @ other)
    return float(((mean - other_mean) ** 2).sum() + np.trace(covariance) + np.trace(other) - 2 * np.trace(root).real)


def test_one_dimension_by_hand() -> None:
    """(m - m')² + (s - s')²."""
    one = torch.ones(1)
    assert float(frechet_distance(3 * one, 4 * one.diag(), one, 25 * one.diag())) == pytest.approx(4 + 9)


def test_two_dimensions_that_do_not_share_their_axes_by_hand() -> None:
    turn = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    diagonal = torch.tensor([4.0, 1.0], dtype=torch.float64).diag()
    zero = torch.zeros(2)
    # Tr(C C')^½ = 2 + 2: each axis of one deviation 2 and of the other 1
    assert float(frechet_distance(zero, diagonal, zero, turn @ diagonal @ turn)) == pytest.approx(5 + 5 - 2 * 4)


@pytest.mark.parametrize(("n", "other"), [(400, 300), (60, 400)])
def test_well_conditioned(n: int, other: int) -> None:
    first, second = statistics(n, 1, 0.5), statistics(other, 2, 0.5)
    found = float(frechet_distance(*first, *second))
    assert found > 0.1
    assert found == pytest.approx(by_scipy(first, second), rel=1e-9)
    both = (part.numpy() for part in (*first, *second))
    assert found == pytest.approx(calculate_frechet_distance(*both), rel=1e-9)


def test_ill_conditioned() -> None:
    """Deviations over five powers of ten, so eigenvalues over ten."""
    first, second = statistics(400, 1, 5), statistics(300, 2, 5)
    found = float(frechet_distance(*first, *second))
    assert found == pytest.approx(by_scipy(first, second), rel=1e-6)
    assert found == pytest.approx(calculate_frechet_distance(*(part.numpy() for part in (*first, *second))), rel=1e-6)


@pytest.mark.parametrize(("n", "other"), [(12, 12), (12, 9), (2, 2)])
@pytest.mark.parametrize("told", [True, False])
def test_fewer_samples_than_dimensions(n: int, other: int, told: bool) -> None:
    """Exact where the samples are known: Tr (C C')^½ is the nuclear norm of X X'ᵀ. Roots of the product are off by far more."""
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn(rows, 40, generator=rng, dtype=torch.float64) for rows in (n, other))
    centered = [(part - part.mean(dim=0)) / math.sqrt(len(part) - 1) for part in (x, y)]
    overlap = torch.linalg.svdvals(centered[0] @ centered[1].T).sum()
    expected = (x.mean(dim=0) - y.mean(dim=0)).square().sum() + sum(part.square().sum() for part in centered) - 2 * overlap
    found = frechet_distance(x.mean(dim=0), x.T.cov(), y.mean(dim=0), y.T.cov(), rank=max(n, other) - 1 if told else None)
    assert float(found) == pytest.approx(float(expected), rel=1e-11)
    theirs = calculate_frechet_distance(*(part.numpy() for part in (x.mean(0), x.T.cov(), y.mean(0), y.T.cov())))
    assert float(found) == pytest.approx(theirs, rel=1e-3)


def test_the_rank_keeps_out_what_rounding_adds() -> None:
    """Singular covariances with a floor of noise: known to be of rank 4, they are compared as such."""
    rng = torch.Generator().manual_seed(0)
    roots = [torch.randn(40, 4, generator=rng, dtype=torch.float64) for _ in range(2)]
    zero, noise = torch.zeros(40), 1e-8 * torch.eye(40, dtype=torch.float64)
    clean = frechet_distance(zero, roots[0] @ roots[0].T, zero, roots[1] @ roots[1].T)
    noisy = [root @ root.T + noise for root in roots]
    assert float(frechet_distance(zero, noisy[0], zero, noisy[1], rank=4) - clean) == pytest.approx(0, abs=2e-6)
    assert float(frechet_distance(zero, noisy[0], zero, noisy[1]) - clean) < -1e-5


@pytest.mark.parametrize("n", [10, 400])
def test_nothing_is_between_a_set_and_itself(n: int) -> None:
    same = statistics(n, 1, 2)
    assert 0 <= float(frechet_distance(*same, *same)) < 1e-9


def test_what_is_not_a_number_stays_so() -> None:
    mean, covariance = statistics(50, 1, 1)
    assert frechet_distance(mean, covariance, mean * math.nan, covariance).isnan()
    assert frechet_distance(mean, covariance * math.inf, mean, covariance).isnan()
