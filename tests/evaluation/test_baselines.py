import pytest
import torch
from torch.nn import functional as F

from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.baselines import BASELINES, Baseline, biharmonic, find_baselines, mean_fill, navier_stokes, telea
from lit_inpaint.types import composite

FUNCTIONS = [pytest.param(function, id=label) for label, function in find_baselines(["all"]).items()]


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
    assert list(find_baselines(["all"])) == [*dict(expected), "Biharmonic"]
    with pytest.raises(UserError, match=r"no 'biharmonik'.*navier_stokes, biharmonic, all; did you mean 'biharmonic'"):
        find_baselines(["telea", "biharmonik"])


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
