import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.baselines import (
    BASELINES,
    NAMES,
    Baseline,
    ClassicalMethod,
    biharmonic,
    find_baselines,
    find_method,
    frequency_selective,
    mean_fill,
    missing_package,
    navier_stokes,
    patchmatch,
    telea,
)
from lit_inpaint.types import composite

FUNCTIONS = [
    pytest.param(function, id=label, marks=pytest.mark.skipif(bool(missing), reason=str(missing)))
    for name, (label, function) in NAMES.items()
    for missing in [missing_package(name)]
]


@pytest.fixture
def image() -> torch.Tensor:
    coarse = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (40, 56), mode="bilinear", align_corners=True)


@pytest.fixture
def mask() -> torch.Tensor:
    mask = torch.zeros(2, 1, 40, 56)
    mask[0, :, 10:20, 10:30] = 1
    mask[1, :, :8, 40:] = 1
    return mask


def test_find_baselines() -> None:
    expected = (("Mean fill", mean_fill), ("OpenCV Telea", telea), ("OpenCV Navier-Stokes", navier_stokes))
    assert expected == BASELINES
    assert list(find_baselines([]).items()) == list(expected)
    assert find_baselines(["biharmonic", "mean"]) == {"Mean fill": mean_fill, "Biharmonic": biharmonic}
    with pytest.raises(UserError, match=r"no 'biharmonik'.*navier_stokes, biharmonic, .*all; did you mean 'biharmonic'"):
        find_baselines(["telea", "biharmonik"])
    assert find_method("telea") == ClassicalMethod("OpenCV Telea", telea)
    with pytest.raises(UserError, match=r"--method: there is no 'telia'.*did you mean 'telea'"):
        find_method("telia")


@pytest.mark.parametrize("function", [telea, navier_stokes])
def test_a_single_row_or_column_is_filled_from_its_own_pixels(function: Baseline) -> None:
    rng = torch.Generator().manual_seed(0)
    row, mask = torch.rand(1, 3, 1, 34, generator=rng), (torch.rand(1, 1, 1, 34, generator=rng) < 0.3).float()
    expected = function(row.repeat(1, 1, 2, 1), mask.repeat(1, 1, 2, 1))[:, :, :1]
    assert torch.equal(function(row, mask), expected)
    expected = function(row.mT.repeat(1, 1, 1, 2), mask.mT.repeat(1, 1, 1, 2))[..., :1]
    assert torch.equal(function(row.mT, mask.mT), expected)


def test_missing_packages_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("lit_inpaint.evaluation.baselines.find_spec", lambda name: None)
    monkeypatch.delattr(cv2, "xphoto", raising=False)
    with pytest.raises(UserError, match=r"^patchmatch needs PyPatchMatch; run pip install 'lit_inpaint\[patchmatch\]'$"):
        find_baselines(["telea", "patchmatch"])
    with pytest.raises(UserError, match=r"^fsr needs OpenCV with its contrib modules; run pip install .*opencv-contrib"):
        find_method("fsr")
    assert list(find_baselines(["all"])) == [*dict(BASELINES), "Biharmonic"]
    assert capsys.readouterr().err.startswith(
        "note: --baselines all leaves out patchmatch and fsr: patchmatch needs PyPatchMatch;"
    )


def test_installed_packages_are_used(monkeypatch: pytest.MonkeyPatch, image: torch.Tensor, mask: torch.Tensor) -> None:
    """Stand-ins record what they get: 8-bit images, hole 1 for one, known 255 and BGR for the other."""
    calls = []

    def patches(pixels: np.ndarray, hole: np.ndarray, patch_size: int) -> np.ndarray:
        calls.append((pixels, hole, patch_size))
        return np.where(hole[..., None] == 1, 9, pixels).astype(np.uint8)

    def frequencies(source: np.ndarray, known: np.ndarray, target: np.ndarray, method: str) -> None:
        calls.append((source[..., ::-1], 1 - known // 255, method))
        target[:] = np.where(known[..., None] == 255, source, (1, 2, 3))

    monkeypatch.setitem(sys.modules, "patchmatch", SimpleNamespace(inpaint=patches, __spec__=object()))
    monkeypatch.setattr(cv2, "xphoto", SimpleNamespace(inpaint=frequencies, INPAINT_FSR_FAST="fast"), raising=False)
    assert list(find_baselines(["patchmatch", "fsr"])) == ["PatchMatch", "OpenCV FSR_FAST"]
    hole = (mask > 0.5).expand_as(image)
    found = patchmatch(image, mask)
    assert torch.equal(found[hole], torch.full_like(found[hole], 9) / 255)
    found = frequency_selective(image, mask)
    for channel, value in enumerate((3, 2, 1)):
        assert (found[:, channel][hole[:, channel]] == value / 255).all()
    assert [options for *_, options in calls] == [3, 3, "fast", "fast"]
    for number, (pixels, holes, _) in enumerate(calls):
        assert pixels.dtype == holes.dtype == np.uint8
        assert (holes == mask[number % 2, 0].numpy()).all()
        known = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[~hole[number % 2]]
        assert torch.equal(known, (image[number % 2][~hole[number % 2]] * 255).round().byte())


@pytest.mark.parametrize("baseline", FUNCTIONS)
def test_shape_range_and_no_side_effects(baseline: Baseline, image: torch.Tensor, mask: torch.Tensor) -> None:
    original = image.clone()
    prediction = baseline(image, mask)
    assert torch.equal(image, original)
    assert prediction.shape == image.shape
    assert prediction.dtype == image.dtype
    assert 0 <= prediction.min() <= prediction.max() <= 1
    completed = composite(image, prediction, mask)
    known = (mask < 0.5).expand_as(image)
    assert torch.equal(completed[known], image[known])
    assert not torch.equal(completed, image)


@pytest.mark.parametrize("baseline", FUNCTIONS)
def test_pixels_in_the_hole_are_not_used(baseline: Baseline, image: torch.Tensor, mask: torch.Tensor) -> None:
    other = torch.where(mask > 0.5, 1 - image, image)
    assert torch.equal(baseline(other, mask), baseline(image, mask))


@pytest.mark.parametrize("baseline", FUNCTIONS)
def test_images_are_filled_one_by_one(baseline: Baseline, image: torch.Tensor, mask: torch.Tensor) -> None:
    assert torch.equal(baseline(image, mask)[1:], baseline(image[1:], mask[1:]))


@pytest.mark.parametrize("baseline", FUNCTIONS)
def test_no_known_pixel_gives_gray_and_no_hole_gives_the_image(baseline: Baseline, image: torch.Tensor) -> None:
    hole = torch.ones(2, 1, 40, 56)
    hole[1] = 0
    prediction = baseline(image, hole)
    assert torch.allclose(prediction[0], torch.tensor(0.5), atol=0.5 / 255 + 1e-6)
    assert torch.equal(composite(image, prediction, hole)[1], image[1])


def test_mean_fill_by_hand() -> None:
    image = torch.tensor([[[[0.0, 0.2], [0.4, 1.0]], [[1.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.3, 0.9]]]])
    mask = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]])
    expected = torch.tensor([0.2, 1.0, 0.1]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert torch.allclose(mean_fill(image, mask), expected)


@pytest.mark.parametrize("baseline", [telea, navier_stokes])
def test_opencv_continues_smooth_images_and_keeps_channels_apart(baseline: Baseline, mask: torch.Tensor) -> None:
    flat = torch.tensor([0.2, 0.6, 1.0]).view(1, 3, 1, 1).expand(2, 3, 40, 56)
    assert torch.allclose(baseline(flat, mask), flat, atol=3.5 / 255)  # OpenCV's Telea is up to 3 levels off even here
    ramp = torch.linspace(0, 1, 56).expand(2, 3, 40, 56)
    hole = (mask > 0.5).expand_as(ramp)
    error = (baseline(ramp, mask) - ramp)[hole].abs().mean()
    assert error < 0.5 * (mean_fill(ramp, mask) - ramp)[hole].abs().mean()


def test_biharmonic_continues_a_ramp_which_mean_fill_cannot(mask: torch.Tensor) -> None:
    ramp = torch.linspace(0.1, 0.9, 56).expand(2, 3, 40, 56).clone()
    ramp[:, 1] = 0.5 + 0.4 * ramp[:, 1].flip(-1)
    inside = mask[:1]  # a hole at the border has no known pixels on that side
    assert torch.allclose(biharmonic(ramp[:1], inside), ramp[:1], atol=1e-4)
