import json
import math
import pickle

import pytest
import torch

from lit_inpaint.metrics import LPI, BucketedMeans, Mean, score_rows

N = 90
LABELS = ["10-20%", "20-30%", "30-40%", "40-50%", "outside", "all"]
Scores = dict[str, torch.Tensor]


@pytest.fixture
def sample() -> tuple[Scores, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    scores = {name: 30 * torch.rand(N, generator=rng, dtype=torch.float64) for name in ("psnr", "ssim", "l1")}
    shares = 0.6 * torch.rand(N, generator=rng, dtype=torch.float64)
    shares[:5] = torch.arange(1, 6, dtype=torch.float64) / 10  # a bucket holds its lower bound
    return scores, shares


def part(scores: Scores, chosen: slice) -> Scores:
    return {name: values[chosen] for name, values in scores.items()}


def assert_same(found: dict[tuple[str, str], Mean], expected: dict[tuple[str, str], Mean]) -> None:
    assert list(found) == list(expected)
    for key, mean in expected.items():
        assert found[key].n == mean.n
        assert found[key].value == pytest.approx(mean.value, rel=1e-12)


@pytest.mark.parametrize("batch", [1, 7, N])
def test_means_are_plain_means_however_the_samples_are_split(sample: tuple[Scores, torch.Tensor], batch: int) -> None:
    scores, shares = sample
    tally = BucketedMeans(LPI)
    for start in range(0, N, batch):
        chosen = slice(start, start + batch)
        tally.update(part(scores, chosen), shares[chosen])
    expected = {}
    for label in LABELS:
        low, high = {"outside": (0, 0), "all": (0, 1)}.get(label) or [int(x) / 100 for x in label[:-1].split("-")]
        inside = (shares < 0.1) | (shares >= 0.5) if label == "outside" else (shares >= low) & (shares < high)
        for name, values in scores.items():
            expected[label, name] = Mean(values[inside].mean().item(), int(inside.sum()))
    assert min(mean.n for mean in expected.values()) > 5
    assert_same(tally.compute(), expected)


def test_two_tallies_merge_into_one(sample: tuple[Scores, torch.Tensor]) -> None:
    scores, shares = sample
    whole, left, right = BucketedMeans(LPI), BucketedMeans(LPI), BucketedMeans(LPI)
    whole.update(scores, shares)
    left.update(part(scores, slice(0, 31)), shares[:31])
    right.update(part(scores, slice(31, N)), shares[31:])
    left.merge_state(right)
    assert_same(left.compute(), whole.compute())


def test_empty_buckets_have_no_value() -> None:
    tally = BucketedMeans(LPI)
    tally.update({name: torch.tensor([1.0, 2.0]) for name in ("psnr", "ssim", "l1")}, torch.tensor([0.25, 0.75]))
    means = tally.compute()
    assert [label for label, name in means if name == "psnr"] == LABELS
    assert means["10-20%", "psnr"] == Mean(None, 0)
    assert means["20-30%", "ssim"] == Mean(1.0, 1)
    assert means["outside", "l1"] == Mean(2.0, 1)
    assert means["all", "l1"] == Mean(1.5, 2)


def test_a_perfect_completion_leaves_one_mean_and_a_failed_one_shows() -> None:
    tally = BucketedMeans(LPI)
    scores = {
        "psnr": torch.tensor([math.inf, 20.0]),
        "ssim": torch.tensor([1.0, 0.5]),
        "l1": torch.tensor([0.0, math.nan]),
    }
    tally.update(scores, torch.tensor([0.15, 0.15]))
    means = tally.compute()
    assert means["10-20%", "psnr"] == Mean(20.0, 1)
    assert means["10-20%", "ssim"] == Mean(0.75, 2)
    assert math.isnan(means["10-20%", "l1"].value or 0)
    assert means["20-30%", "l1"] == Mean(None, 0)  # and shows only where it belongs


def test_reset_pickle_and_half_precision_modules(sample: tuple[Scores, torch.Tensor]) -> None:
    scores, shares = sample
    tally = BucketedMeans(LPI).half()
    tally.update(scores, shares)
    assert tally.sums.dtype == torch.float64
    assert_same(pickle.loads(pickle.dumps(tally)).compute(), tally.compute())
    tally.reset()
    tally.update(part(scores, slice(0, 3)), shares[:3])
    assert tally.compute()["all", "psnr"].n == 3


def test_rows_are_json(sample: tuple[Scores, torch.Tensor]) -> None:
    scores, shares = sample
    tally = BucketedMeans(LPI)
    tally.update(part(scores, slice(0, 2)), shares[:2])
    table = score_rows("Mean fill", LPI, tally.compute())
    assert json.loads(json.dumps(table)) == table
    assert len(table) == 6 * 3
    first = table[0]
    assert list(first) == ["method", "protocol", "bucket", "metric", "value", "n"]
    assert (first["method"], first["protocol"], first["bucket"], first["metric"]) == ("Mean fill", "lpi", "10-20%", "psnr")
