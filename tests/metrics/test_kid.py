"""KID against torch-fidelity and a double loop."""

from __future__ import annotations

import pytest
import torch
from tiny_features import TinyFeatures, images
from torch_fidelity.metric_kid import kid_features_to_metric

from lit_inpaint.metrics.kid import KID, squared_mmd


def vectors(n: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def torch_fidelity_kid(x: torch.Tensor, y: torch.Tensor, subsets: int, size: int) -> tuple[float, float]:
    result = kid_features_to_metric(x, y, kid_subsets=subsets, kid_subset_size=size, rng_seed=1, verbose=False)
    return result["kernel_inception_distance_mean"], result["kernel_inception_distance_std"]


def test_the_estimate_by_hand() -> None:
    x, y = vectors(4, 0), vectors(3, 1, 0.5)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / 12 + 1) ** 3

    within = [sum(kernel(a, b) for a in s for b in s if a is not b) / (len(s) * (len(s) - 1)) for s in (list(x), list(y))]
    between = sum(kernel(a, b) for a in x for b in y) / 12
    assert float(squared_mmd(x, y)) == pytest.approx(sum(within) - 2 * between)


def test_the_estimate_equals_torch_fidelitys() -> None:
    x, y = vectors(50, 0), vectors(50, 1, 0.3)
    assert float(squared_mmd(x, y)) == pytest.approx(torch_fidelity_kid(x, y, 1, 50)[0], rel=1e-9)


def test_the_estimate_is_unbiased() -> None:
    """For two sets of one distribution it is 0 on average, and often negative."""
    estimates = torch.stack([squared_mmd(vectors(6, 2 * i), vectors(6, 2 * i + 1)) for i in range(400)])
    assert abs(estimates.mean()) < 3 * estimates.std() / 20
    assert (estimates < 0).float().mean() > 0.3


def test_mean_and_std_over_subsets_equal_torch_fidelitys() -> None:
    """Up to other draws of the same number and size."""
    prediction, target = images(80, 0)
    features = TinyFeatures(12)
    kid = KID(features, subsets=300, subset_size=40)
    for batch in zip(prediction.split(11), target.split(11), strict=True):
        kid.update(*batch)
    value = float(kid.compute())
    mean, std = torch_fidelity_kid(features.extract(prediction).double(), features.extract(target).double(), 300, 40)
    assert kid.label == "kid"
    assert abs(value - mean) < 4 * std / 300**0.5
    assert kid.std == pytest.approx(std, rel=0.25)
    assert abs(value - mean) < 0.5 * value, "the sets differ by more than the draws"


def test_draws_are_seeded_and_independent_of_the_order() -> None:
    prediction, target = images(30, 0)
    values = []
    for order, seed in ((range(30), 0), (range(29, -1, -1), 0), (range(30), 1)):
        kid = KID(TinyFeatures(), subsets=4, subset_size=10, seed=seed)
        kid.update(prediction[list(order)], target[list(order)])
        values.append(float(kid.compute()))
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert values[0] != pytest.approx(values[2], rel=1e-4)


def test_few_images_give_small_subsets_and_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr("lit_inpaint.metrics.kid.squared_mmd", lambda x, y: sizes.append(len(x)) or torch.ones(()))
    for n in (2, 3, 10, 2100):
        kid = KID(TinyFeatures(), subsets=1)
        kid.feature_pairs.append(torch.rand(n, 2, 6))
        kid.target_hashes.append(torch.arange(n))
        kid.sample_count += n
        kid._update_count = 1
        if n < 2000:
            with pytest.warns(UserWarning, match=f"kid_{n}: {n} distinct images are fewer than the 2,000"):
                kid.compute()
        else:
            kid.compute()
        assert kid.label == ("kid" if n >= 2000 else f"kid_{n}")
    assert sizes == [2, 2, 5, 1000]


def test_without_a_value_there_is_no_std() -> None:
    kid = KID(TinyFeatures(), subsets=3, subset_size=4)
    assert kid.std is None
    kid.update(*images(8, 0))
    kid.compute()
    assert kid.std is not None
    prediction, target = images(8, 1)
    prediction[0] = torch.nan
    kid.update(prediction, target)
    with pytest.warns(UserWarning, match="1 of 16 completions hold NaN or infinity"):
        assert kid.compute().isnan()
    assert kid.std is None


def test_features_are_kept_in_main_memory_and_only_draws_become_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    kid = KID(TinyFeatures(), subsets=3, subset_size=4)
    moved_shapes: list[tuple[int, ...]] = []
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: moved_shapes.append(tuple(self.shape)) or cpu(self))
    kid.update(*images(20, 0))
    assert (20, 2, 6) in moved_shapes
    converted: list[int] = []
    double = torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda self: converted.append(len(self)) or double(self))
    kid.compute()
    assert converted == [4] * 6
