"""FID against pytorch-fid on two folders of PNG files, and over processes. A tiny network stands for Inception."""

from __future__ import annotations

import math
import warnings
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from PIL import Image
from pytorch_fid import fid_score
from tiny_features import TinyFeatures, TinyNetwork, images
from torch import Tensor, distributed, multiprocessing, nn

from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.kid import KID

pytestmark = pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # in pytorch-fid


class LikePytorchFID(nn.Module):
    """The form in which pytorch-fid's loop expects a network."""

    BLOCK_INDEX_BY_DIM: ClassVar = {64: 0}

    def __init__(self, blocks: list[int]) -> None:
        super().__init__()
        self.network = TinyNetwork(64)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.network(image)[:, :, None, None]]


@pytest.mark.parametrize(("n", "tolerance"), [(100, 1e-7), (30, 1e-3)])
def test_pytorch_fid_on_the_same_images(n: int, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 64 dimensions, enough images and too few; of singular covariances pytorch-fid's root is good to three digits."""
    sets = images(n, 0)
    for name, part in zip(("completions", "truths"), sets, strict=True):
        (tmp_path / name).mkdir()
        for number, image in enumerate(part):
            pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / name / f"{number:03}.png")
    monkeypatch.setattr(fid_score, "InceptionV3", LikePytorchFID)
    folders = [str(tmp_path / "completions"), str(tmp_path / "truths")]
    theirs = fid_score.calculate_fid_given_paths(folders, batch_size=9, device="cpu", dims=64, num_workers=0)
    fid = FID(TinyFeatures(64))
    for prediction, target in zip(*(part.split(7) for part in sets), strict=True):
        fid.update(prediction, target)
    assert float(fid.compute()) == pytest.approx(theirs, rel=tolerance)
    assert theirs > 1e-3


def test_a_set_is_as_far_from_itself_as_rounding() -> None:
    fid = FID(TinyFeatures())
    fid.update(images(20, 0)[1], images(20, 0)[1])
    assert 0 <= float(fid.compute()) < 1e-12


def test_few_images_are_in_the_name_and_warned_of_once() -> None:
    fid = FID(TinyFeatures())
    assert fid.enough == 6
    fid.update(*images(5, 0))
    with pytest.warns(UserWarning, match="fid_5: 5 different images are fewer than the 6 that fid needs"):
        fid.compute()
    fid.update(*images(0, 0))  # so that it computes anew
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fid.compute()
    assert fid.label == "fid_5"
    fid.update(*images(1, 1))
    fid.compute()
    assert (fid.label, fid.remark, fid.total, fid.count) == ("fid", "", 6, 6)
    assert FID().enough == 2048


def test_an_image_with_several_holes_counts_once() -> None:
    fid = FID(TinyFeatures())
    prediction, target = images(5, 0)
    for shift in (0.0, 1 / 255, 2 / 255, 3 / 255):
        fid.update((prediction + shift).clamp(0, 1), target)
    with pytest.warns(UserWarning, match="fid_5: 5 different images are fewer than the 6"):
        fid.compute()
    assert (fid.label, fid.total, fid.total_different) == ("fid_5", 20, 5)
    fid.reset()
    fid.update(*images(6, 1))
    fid.compute()
    assert (fid.label, fid.total_different) == ("fid", 6)


@pytest.mark.parametrize("make", [FID, KID])
def test_one_image_has_no_distribution(make: type[FID | KID]) -> None:
    measure = make(TinyFeatures())
    measure.update(*images(1, 0))
    with pytest.warns(UserWarning, match="at least 2 images, not of 1"):
        assert measure.compute().isnan()
    none = make(TinyFeatures())
    none.update(*images(0, 0))
    with pytest.warns(UserWarning, match="at least 2 images, not of 0"):
        assert none.compute().isnan()


@pytest.mark.parametrize("make", [FID, KID])
def test_pixels_that_are_not_numbers_are_counted_and_said(make: type[FID | KID]) -> None:
    measure = make(TinyFeatures())
    measure.update(*images(20, 0))
    prediction, target = images(20, 1)
    prediction[3, 0, 5, 5] = math.nan
    prediction[7, :] = math.inf
    measure.update(prediction, target)
    with pytest.warns(UserWarning, match="2 of 40 completions hold pixels that are not"):
        assert measure.compute().isnan()
    measure.reset()
    measure.update(*images(20, 0))
    assert measure.compute().isfinite()


def over_two_processes(rank: int, folder: str) -> None:
    """What each of two processes computes where the images are split unevenly, and where one has none."""
    torch.set_num_threads(1)
    meeting, patience = f"file://{folder}/meeting", timedelta(seconds=60)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=patience)
    found = []
    for parts in (((0, 11), (11, 16)), ((0, 16), (16, 16))):
        for measure in both():
            prediction, target = images(16, 0)
            start, stop = parts[rank]
            for place in range(start, stop, 4):
                chosen = slice(place, min(stop, place + 4))
                measure.update(prediction[chosen], target[chosen])
            value = float(measure.compute())
            found.append((value, measure.label, measure.count, measure.total, measure.total_different))
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def both() -> tuple[DistributionMetric, ...]:
    return FID(TinyFeatures()), KID(TinyFeatures(), subsets=5, subset_size=7)


def test_two_processes_are_as_one(tmp_path: Path) -> None:
    multiprocessing.start_processes(over_two_processes, (str(tmp_path),), nprocs=2, start_method="fork")
    left, right = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    alone = both()
    for measure in alone:
        measure.update(*images(16, 0))
    expected = [(float(measure.compute()), measure.label) for measure in alone] * 2
    for found, counts in ((left, (11, 11, 16, 16)), (right, (5, 5, 0, 0))):
        for (value, label, count, total, different), (lone, name), own in zip(found, expected, counts, strict=True):
            assert value == pytest.approx(lone, rel=1e-5)  # batches of another size round features differently
            assert (label, total, different) == (name, 16, 16)
            assert count == own
    assert [row[0] for row in left] == [row[0] for row in right]


def test_images_of_several_sizes() -> None:
    """As when all features are taken first; whatever batches hold, an image's features are its own."""
    features = TinyFeatures()
    fid, found = FID(features), list[tuple[torch.Tensor, ...]]()
    for number in range(12):
        pair = images(1, number, (32, 40, 52)[number % 3])
        fid.update(*pair)
        found.append(tuple(features.of(side)[0].double() for side in pair))
    ours, theirs = (torch.stack(side) for side in zip(*found, strict=True))
    moments = [part.numpy() for side in (ours, theirs) for part in (side.mean(dim=0), side.T.cov())]
    assert float(fid.compute()) == pytest.approx(fid_score.calculate_frechet_distance(*moments), rel=1e-6)
