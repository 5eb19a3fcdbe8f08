import math
import pickle

import pytest
import torch

from lit_inpaint.metrics import LPI, BucketedMeans, Mean

N = 90
LABELS = ["10-20%", "20-30%", "30-40%", "40-50%", "outside", "all"]
Scores = dict[str, torch.Tensor]


@pytest.fixture
def sample() -> tuple[Scores, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    scores = {name: 30 * torch.rand(N, generator=rng, dtype=torch.float64) for name in ("psnr", "ssim", "l1")}
    mask_ratios = 0.6 * torch.rand(N, generator=rng, dtype=torch.float64)
    mask_ratios[:5] = torch.arange(1, 6, dtype=torch.float64) / 10  # a bucket contains its lower bound
    return scores, mask_ratios


def select(scores: Scores, chosen: slice) -> Scores:
    return {name: values[chosen] for name, values in scores.items()}


def assert_same(found: dict[tuple[str, str], Mean], expected: dict[tuple[str, str], Mean]) -> None:
    assert list(found) == list(expected)
    for key, mean in expected.items():
        assert found[key].n == mean.n
        assert found[key].value == pytest.approx(mean.value, rel=1e-12)


@pytest.mark.parametrize("batch", [1, 7, N])
def test_means_do_not_depend_on_the_batches(sample: tuple[Scores, torch.Tensor], batch: int) -> None:
    scores, mask_ratios = sample
    means = BucketedMeans(LPI)
    for start in range(0, N, batch):
        chosen = slice(start, start + batch)
        means.update(select(scores, chosen), mask_ratios[chosen])
    expected = {}
    for label in LABELS:
        low, high = {"outside": (0, 0), "all": (0, 1)}.get(label) or [int(x) / 100 for x in label[:-1].split("-")]
        inside = (
            (mask_ratios < 0.1) | (mask_ratios >= 0.5) if label == "outside" else (mask_ratios >= low) & (mask_ratios < high)
        )
        for name, values in scores.items():
            expected[label, name] = Mean(values[inside].mean().item(), int(inside.sum()))
    assert min(mean.n for mean in expected.values()) > 5
    assert_same(means.compute(), expected)


def test_two_instances_merge_into_one(sample: tuple[Scores, torch.Tensor]) -> None:
    scores, mask_ratios = sample
    whole, left, right = BucketedMeans(LPI), BucketedMeans(LPI), BucketedMeans(LPI)
    whole.update(scores, mask_ratios)
    left.update(select(scores, slice(0, 31)), mask_ratios[:31])
    right.update(select(scores, slice(31, N)), mask_ratios[31:])
    left.merge_state(right)
    assert_same(left.compute(), whole.compute())


def test_empty_buckets_have_no_value() -> None:
    means = BucketedMeans(LPI)
    means.update({name: torch.tensor([1.0, 2.0]) for name in ("psnr", "ssim", "l1")}, torch.tensor([0.25, 0.75]))
    computed = means.compute()
    assert [label for label, name in computed if name == "psnr"] == LABELS
    assert computed["10-20%", "psnr"] == Mean(None, 0)
    assert computed["20-30%", "ssim"] == Mean(1.0, 1)
    assert computed["outside", "l1"] == Mean(2.0, 1)
    assert computed["all", "l1"] == Mean(1.5, 2)


def test_infinite_scores_are_left_out_and_nan_is_kept() -> None:
    means = BucketedMeans(LPI)
    scores = {
        "psnr": torch.tensor([math.inf, 20.0]),
        "ssim": torch.tensor([1.0, 0.5]),
        "l1": torch.tensor([0.0, math.nan]),
    }
    means.update(scores, torch.tensor([0.15, 0.15]))
    computed = means.compute()
    assert computed["10-20%", "psnr"] == Mean(20.0, 1)
    assert computed["10-20%", "ssim"] == Mean(0.75, 2)
    assert math.isnan(computed["10-20%", "l1"].value or 0)
    assert computed["20-30%", "l1"] == Mean(None, 0)  # NaN affects only its own bucket


def test_reset_pickle_and_half_precision_modules(sample: tuple[Scores, torch.Tensor]) -> None:
    scores, mask_ratios = sample
    means = BucketedMeans(LPI).half()
    means.update(scores, mask_ratios)
    assert means.sums.dtype == torch.float64
    assert_same(pickle.loads(pickle.dumps(means)).compute(), means.compute())
    means.reset()
    means.update(select(scores, slice(0, 3)), mask_ratios[:3])
    assert means.compute()["all", "psnr"].n == 3
