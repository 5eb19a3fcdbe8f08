"""SSIM against hand values, scikit-image and torchmetrics."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from smooth_images import noisy_pairs
from torchmetrics.functional.image import structural_similarity_index_measure as padded_ssim

from lit_inpaint.metrics import round_uint8, ssim, ssim_uniform
from lit_inpaint.metrics.ssim import ssim_zero_padded


def skimage_ssim(prediction: torch.Tensor, target: torch.Tensor) -> float:
    _, full = structural_similarity(
        prediction.double().numpy(),
        target.double().numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=0,
        full=True,
    )
    return full[:, 5:-5, 5:-5].mean()


@pytest.mark.parametrize("size", [(64, 80), (11, 11), (97, 40)], ids=str)
def test_ssim_equals_scikit_images_inside_the_border(size: tuple[int, int]) -> None:
    prediction, target = noisy_pairs(*size)
    expected = torch.tensor([skimage_ssim(p, t) for p, t in zip(prediction, target, strict=True)])
    scores = ssim(prediction, target)
    assert scores.dtype == torch.float64
    assert (scores - expected).abs().max() < 1e-9
    assert scores.min() < 0.8  # the images differ enough for the comparison


def test_ssim_of_flat_images_by_hand() -> None:
    black, white = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    assert ssim(black, white).item() == pytest.approx(1e-4 / 1.0001, rel=1e-9)
    assert ssim(white, white).item() == 1.0


def test_ssim_does_not_modify_its_arguments() -> None:
    prediction, target = (image.double() for image in noisy_pairs())
    before = prediction.clone(), target.clone()
    ssim(prediction, target)
    assert torch.equal(prediction, before[0])
    assert torch.equal(target, before[1])


def test_ssim_rejects_images_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match=r"at least 11x11 pixels, not \(10, 64\)"):
        ssim(torch.rand(1, 3, 10, 64), torch.rand(1, 3, 10, 64))


def test_torchmetrics_ssim_differs_only_at_its_padded_border() -> None:
    prediction, target = noisy_pairs()
    padded = padded_ssim(prediction, target, data_range=1.0, reduction="none").double()
    scores = ssim(prediction, target)
    assert 1e-5 < (padded - scores).abs().max() < 0.05
    _, full = padded_ssim(prediction, target, data_range=1.0, reduction="none", return_full_image=True)
    assert torch.allclose(full[..., 5:-5, 5:-5].double().mean(dim=(1, 2, 3)), scores, atol=1e-4)


def test_zero_padded_ssim_is_a_convolution_with_padding() -> None:
    """As in LaMa's public code; scipy's filter, images surrounded by zeros."""
    prediction, target = noisy_pairs(20, 24)

    def means(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return gaussian_filter(x, (0, 0, 1.5, 1.5), mode="constant", truncate=5 / 1.5)

    x, y = prediction.double().numpy(), target.double().numpy()
    mx, my = means(x), means(y)
    luminance = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
    structure = (2 * (means(x * y) - mx * my) + 0.03**2) / (means(x * x) - mx**2 + means(y * y) - my**2 + 0.03**2)
    scores = ssim_zero_padded(prediction, target)
    np.testing.assert_allclose(scores.numpy(), (luminance * structure).mean((1, 2, 3)), atol=1e-9)
    assert (scores - ssim(prediction, target)).abs().max() > 1e-3
    assert ssim_zero_padded(prediction[..., :3, :2], target[..., :3, :2]).shape == (len(target),)


def test_each_image_is_measured_separately() -> None:
    prediction, target = noisy_pairs()
    separate = torch.cat([ssim(prediction[i : i + 1], target[i : i + 1]) for i in range(4)])
    assert torch.equal(ssim(prediction, target), separate)


@pytest.mark.parametrize(
    ("size", "window"), [((64, 80), 7), ((7, 9), 7), ((97, 60), 51), ((51, 51), 51), ((20, 30), 11)], ids=str
)
def test_ssim_uniform_equals_scikit_images_default(size: tuple[int, int], window: int) -> None:
    prediction, target = (round_uint8(image).float() for image in noisy_pairs(*size))
    expected = [
        structural_similarity(p.double().numpy(), t.double().numpy(), win_size=window, data_range=1.0, channel_axis=0)
        for p, t in zip(prediction, target, strict=True)
    ]
    scores = ssim_uniform(prediction, target, window)
    assert scores.tolist() == pytest.approx(expected, abs=1e-9)
    assert scores.min() < 0.9
    assert (scores - ssim_uniform(prediction, target, window - 2)).abs().max() > 1e-4  # the window matters


def test_ssim_uniform_rejects_images_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match=r"at least 7x7 pixels, not \(6, 64\)"):
        ssim_uniform(torch.rand(1, 3, 6, 64), torch.rand(1, 3, 6, 64))
