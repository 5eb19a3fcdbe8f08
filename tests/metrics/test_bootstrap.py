import math
import sys

import pytest
import torch

from lit_inpaint.metrics.bootstrap import MIN_IMAGES, bootstrap_intervals, num_resamples


def normal(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_many_images_give_the_normal_interval() -> None:
    values = 3 + 2 * normal(400)
    low, high = bootstrap_intervals(values, torch.arange(400))[0].tolist()
    mean, half = float(values.mean()), 1.96 * float(values.std()) / math.sqrt(400)
    assert low == pytest.approx(mean - half, abs=0.02)
    assert high == pytest.approx(mean + half, abs=0.02)


def test_intervals_equal_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = normal(30).exp()
    result = stats.bootstrap(
        (values[:, 0].numpy(),), lambda x, axis: x.mean(axis), n_resamples=10_000, method="percentile", rng=1
    )
    expected = [result.confidence_interval.low, result.confidence_interval.high]
    assert bootstrap_intervals(values, torch.arange(30))[0].tolist() == pytest.approx(expected, abs=0.03)


def test_samples_of_one_image_are_drawn_together() -> None:
    """Four equal samples of each image give the interval of one."""
    values, images = normal(50), torch.arange(50)
    once = bootstrap_intervals(values, images)
    four_times = bootstrap_intervals(values.repeat(4, 1), images.repeat(4))
    independent = bootstrap_intervals(values.repeat(4, 1), torch.arange(200))
    assert torch.allclose(four_times, once, atol=1e-12)
    assert float(independent.diff()) == pytest.approx(float(once.diff()) / 2, rel=0.1)


def test_coverage_of_the_true_mean() -> None:
    hits = 0
    for seed in range(200):
        low, high = bootstrap_intervals(normal(40, seed), torch.arange(40), resamples=500)[0].tolist()
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_columns_are_independent_and_non_finite_values_are_left_out() -> None:
    values = torch.cat([normal(60), normal(60, 1)], dim=1)
    broken = torch.cat([values, values[:, :1]], dim=1)
    broken[:3, 2] = torch.tensor([math.inf, math.nan, -math.inf])
    intervals = bootstrap_intervals(broken, torch.arange(60))
    assert torch.allclose(intervals[:2], bootstrap_intervals(values, torch.arange(60)), atol=1e-12)
    assert intervals[2].isfinite().all()
    assert not torch.allclose(intervals[2], intervals[0])
    assert torch.equal(intervals, bootstrap_intervals(broken, torch.arange(60)))
    fives = torch.full((20, 1), 5.0, dtype=torch.float64)
    fives[:7] = math.nan
    assert bootstrap_intervals(fives, torch.arange(20)).flatten().tolist() == pytest.approx([5.0, 5.0])


def test_too_few_images_give_no_interval() -> None:
    assert bootstrap_intervals(normal(MIN_IMAGES), torch.arange(MIN_IMAGES)).isfinite().all()
    assert bootstrap_intervals(normal(MIN_IMAGES - 1), torch.arange(MIN_IMAGES - 1)).isnan().all()
    assert bootstrap_intervals(normal(50), torch.arange(50) % (MIN_IMAGES - 1)).isnan().all()
    assert bootstrap_intervals(normal(0), torch.arange(0)).isnan().all()
    assert bootstrap_intervals(normal(1), torch.zeros(1, dtype=torch.int64)).isnan().all()


def test_many_images_are_resampled_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [num_resamples(count) for count in (0, 5, 10_000, 40_000, 10_000_000)] == [10_000, 10_000, 10_000, 2_500, 1_000]
    drawn, randint = [], torch.randint
    monkeypatch.setattr(sys.modules["lit_inpaint.metrics.bootstrap"], "_MAX_DRAWS", 100_000)
    monkeypatch.setattr(torch, "randint", lambda high, size, **rest: drawn.append(size[0]) or randint(high, size, **rest))
    bootstrap_intervals(normal(50), torch.arange(50))
    assert sum(drawn) == 2_000
