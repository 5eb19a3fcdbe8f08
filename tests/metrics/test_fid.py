"""FID against pytorch-fid on two folders of PNG files, and over processes, with a tiny network in place of Inception.

The Fréchet distance against scipy's matrix square root, pytorch-fid's function, and values by hand.
"""

from __future__ import annotations

import math
import warnings
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_fid import fid_score
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy import linalg
from tiny_features import TinyFeatures, TinyNetwork, images
from torch import Tensor, distributed, multiprocessing, nn

from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.fid import FID, frechet_distance
from lit_inpaint.metrics.kid import KID

pytestmark = pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # in pytorch-fid


class TinyInceptionV3(nn.Module):
    """A tiny network with the interface of pytorch-fid's `InceptionV3`."""

    BLOCK_INDEX_BY_DIM: ClassVar = {64: 0}

    def __init__(self, blocks: list[int]) -> None:
        super().__init__()
        self.network = TinyNetwork(64)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.network(image)[:, :, None, None]]


@pytest.mark.parametrize(("n", "tolerance"), [(100, 1e-7), (30, 1e-3)])
def test_fid_equals_pytorch_fids(n: int, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 64 dimensions, enough images and too few; for singular covariances pytorch-fid's root is good to three digits."""
    sets = images(n, 0)
    for name, part in zip(("completions", "targets"), sets, strict=True):
        (tmp_path / name).mkdir()
        for number, image in enumerate(part):
            pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / name / f"{number:03}.png")
    monkeypatch.setattr(fid_score, "InceptionV3", TinyInceptionV3)
    folders = [str(tmp_path / "completions"), str(tmp_path / "targets")]
    expected = fid_score.calculate_fid_given_paths(folders, batch_size=9, device="cpu", dims=64, num_workers=0)
    fid = FID(TinyFeatures(64))
    for prediction, target in zip(*(part.split(7) for part in sets), strict=True):
        fid.update(prediction, target)
    assert float(fid.compute()) == pytest.approx(expected, rel=tolerance)
    assert expected > 1e-3


def test_fid_of_a_set_with_itself_is_zero_up_to_rounding() -> None:
    fid = FID(TinyFeatures())
    fid.update(images(20, 0)[1], images(20, 0)[1])
    assert 0 <= float(fid.compute()) < 1e-12


def test_too_few_images_change_the_name_and_warn_once() -> None:
    fid = FID(TinyFeatures())
    assert fid.min_images == 6
    fid.update(*images(5, 0))
    with pytest.warns(UserWarning, match="fid_5: 5 distinct images are fewer than the 6 that fid needs"):
        fid.compute()
    fid.update(*images(0, 0))  # invalidates the computed value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fid.compute()
    assert fid.label == "fid_5"
    fid.update(*images(1, 1))
    fid.compute()
    assert (fid.label, fid.note, fid.num_samples, fid.count) == ("fid", "", 6, 6)
    assert FID().min_images == 2048


def test_an_image_with_several_masks_counts_once() -> None:
    fid = FID(TinyFeatures())
    prediction, target = images(5, 0)
    for shift in (0.0, 1 / 255, 2 / 255, 3 / 255):
        fid.update((prediction + shift).clamp(0, 1), target)
    with pytest.warns(UserWarning, match="fid_5: 5 distinct images are fewer than the 6"):
        fid.compute()
    assert (fid.label, fid.num_samples, fid.num_images) == ("fid_5", 20, 5)
    fid.reset()
    fid.update(*images(6, 1))
    fid.compute()
    assert (fid.label, fid.num_images) == ("fid", 6)


@pytest.mark.parametrize("make", [FID, KID])
def test_one_image_gives_nan(make: type[FID | KID]) -> None:
    metric = make(TinyFeatures())
    metric.update(*images(1, 0))
    with pytest.warns(UserWarning, match="at least 2 images, not 1"):
        assert metric.compute().isnan()
    none = make(TinyFeatures())
    none.update(*images(0, 0))
    with pytest.warns(UserWarning, match="at least 2 images, not 0"):
        assert none.compute().isnan()


@pytest.mark.parametrize("make", [FID, KID])
def test_completions_with_nan_are_counted_and_reported(make: type[FID | KID]) -> None:
    metric = make(TinyFeatures())
    metric.update(*images(20, 0))
    prediction, target = images(20, 1)
    prediction[3, 0, 5, 5] = math.nan
    prediction[7, :] = math.inf
    metric.update(prediction, target)
    with pytest.warns(UserWarning, match="2 of 40 completions hold NaN or infinity"):
        assert metric.compute().isnan()
    metric.reset()
    metric.update(*images(20, 0))
    assert metric.compute().isfinite()


def compute_in_two_processes(rank: int, folder: str) -> None:
    """Compute the metrics in one of two processes, with images split unevenly, and with none in the second process."""
    torch.set_num_threads(1)
    init_method, timeout = f"file://{folder}/store", timedelta(seconds=60)
    distributed.init_process_group("gloo", init_method=init_method, rank=rank, world_size=2, timeout=timeout)
    results = []
    for ranges in (((0, 11), (11, 16)), ((0, 16), (16, 16))):
        for metric in both():
            prediction, target = images(16, 0)
            start, stop = ranges[rank]
            for first in range(start, stop, 4):
                chosen = slice(first, min(stop, first + 4))
                metric.update(prediction[chosen], target[chosen])
            value = float(metric.compute())
            results.append((value, metric.label, metric.count, metric.num_samples, metric.num_images))
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def both() -> tuple[DistributionMetric, ...]:
    return FID(TinyFeatures()), KID(TinyFeatures(), subsets=5, subset_size=7)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    multiprocessing.start_processes(compute_in_two_processes, (str(tmp_path),), nprocs=2, start_method="fork")
    left, right = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    single_process = both()
    for metric in single_process:
        metric.update(*images(16, 0))
    expected = [(float(metric.compute()), metric.label) for metric in single_process] * 2
    for results, counts in ((left, (11, 11, 16, 16)), (right, (5, 5, 0, 0))):
        for (value, label, *numbers), (single, name), count in zip(results, expected, counts, strict=True):
            assert value == pytest.approx(single, rel=1e-5)  # features round differently in batches of another size
            assert (label, numbers) == (name, [count, 16, 16])
    assert [row[0] for row in left] == [row[0] for row in right]


def test_fid_of_images_of_several_sizes() -> None:
    """Equal to pytorch-fid's distance of the features of each image by itself."""
    features = TinyFeatures()
    fid, found = FID(features), list[tuple[torch.Tensor, ...]]()
    for number in range(12):
        pair = images(1, number, (32, 40, 52)[number % 3])
        fid.update(*pair)
        found.append(tuple(features.extract(side)[0].double() for side in pair))
    predictions, targets = (torch.stack(side) for side in zip(*found, strict=True))
    moments = [part.numpy() for side in (predictions, targets) for part in (side.mean(dim=0), side.T.cov())]
    assert float(fid.compute()) == pytest.approx(fid_score.calculate_frechet_distance(*moments), rel=1e-6)


Statistics = tuple[torch.Tensor, torch.Tensor]


def statistics(n: int, seed: int, decades: float, dimensions: int = 40) -> Statistics:
    """Mean and sample covariance of n vectors whose components' deviations span so many powers of ten."""
    rng = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -decades, dimensions, dtype=torch.float64)
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


def test_two_dimensions_with_different_axes_by_hand() -> None:
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    diagonal = torch.tensor([4.0, 1.0], dtype=torch.float64).diag()
    zero = torch.zeros(2)
    # Tr(C C')^½ = 2 + 2: along each axis the deviations are 2 and 1
    assert float(frechet_distance(zero, diagonal, zero, swap @ diagonal @ swap)) == pytest.approx(5 + 5 - 2 * 4)


@pytest.mark.parametrize(("n", "other"), [(400, 300), (60, 400)])
def test_well_conditioned_covariances(n: int, other: int) -> None:
    first, second = statistics(n, 1, 0.5), statistics(other, 2, 0.5)
    found = float(frechet_distance(*first, *second))
    assert found > 0.1
    assert found == pytest.approx(by_scipy(first, second), rel=1e-9)
    both = (part.numpy() for part in (*first, *second))
    assert found == pytest.approx(calculate_frechet_distance(*both), rel=1e-9)


def test_ill_conditioned_covariances() -> None:
    """Deviations span five powers of ten, eigenvalues ten."""
    first, second = statistics(400, 1, 5), statistics(300, 2, 5)
    found = float(frechet_distance(*first, *second))
    assert found == pytest.approx(by_scipy(first, second), rel=1e-6)
    assert found == pytest.approx(calculate_frechet_distance(*(part.numpy() for part in (*first, *second))), rel=1e-6)


@pytest.mark.parametrize(("n", "other"), [(12, 12), (12, 9), (2, 2)])
@pytest.mark.parametrize("rank_given", [True, False])
def test_fewer_samples_than_dimensions(n: int, other: int, rank_given: bool) -> None:
    """Exact value from the samples: Tr (C C')^½ is the nuclear norm of X X'ᵀ. Roots of the product are less exact."""
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn(rows, 40, generator=rng, dtype=torch.float64) for rows in (n, other))
    centered = [(part - part.mean(dim=0)) / math.sqrt(len(part) - 1) for part in (x, y)]
    overlap = torch.linalg.svdvals(centered[0] @ centered[1].T).sum()
    expected = (x.mean(dim=0) - y.mean(dim=0)).square().sum() + sum(part.square().sum() for part in centered) - 2 * overlap
    found = frechet_distance(
        x.mean(dim=0), x.T.cov(), y.mean(dim=0), y.T.cov(), max_rank=max(n, other) - 1 if rank_given else None
    )
    assert float(found) == pytest.approx(float(expected), rel=1e-11)
    from_pytorch_fid = calculate_frechet_distance(*(part.numpy() for part in (x.mean(0), x.T.cov(), y.mean(0), y.T.cov())))
    assert float(found) == pytest.approx(from_pytorch_fid, rel=1e-3)


def test_max_rank_drops_eigenvalues_from_rounding() -> None:
    """Singular covariances of rank 4 with added noise: with the rank given, the distance is that without noise."""
    rng = torch.Generator().manual_seed(0)
    roots = [torch.randn(40, 4, generator=rng, dtype=torch.float64) for _ in range(2)]
    zero, noise = torch.zeros(40), 1e-8 * torch.eye(40, dtype=torch.float64)
    clean = frechet_distance(zero, roots[0] @ roots[0].T, zero, roots[1] @ roots[1].T)
    noisy = [root @ root.T + noise for root in roots]
    assert float(frechet_distance(zero, noisy[0], zero, noisy[1], max_rank=4) - clean) == pytest.approx(0, abs=2e-6)
    assert float(frechet_distance(zero, noisy[0], zero, noisy[1]) - clean) < -1e-5


@pytest.mark.parametrize("n", [10, 400])
def test_distance_of_equal_distributions_is_zero(n: int) -> None:
    same = statistics(n, 1, 2)
    assert 0 <= float(frechet_distance(*same, *same)) < 1e-9


def test_nan_and_infinity_give_nan() -> None:
    mean, covariance = statistics(50, 1, 1)
    assert frechet_distance(mean, covariance, mean * math.nan, covariance).isnan()
    assert frechet_distance(mean, covariance * math.inf, mean, covariance).isnan()
