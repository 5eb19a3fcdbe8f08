"""The single papers' measures against scikit-image, and against the papers' own lines written out."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2gray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional as F

from lit_inpaint.metrics import grey_psnr, grey_relative_l1, grey_ssim_51, luma_ssim, ssim, ssim_uniform


def pairs(height: int = 64, width: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth 8-bit images, one with a flat half, and versions of them that are wrong to different degrees."""
    rng = torch.Generator().manual_seed(0)
    target = F.interpolate(torch.rand(3, 3, 8, 8, generator=rng), (height, width), mode="bicubic").clamp(0, 1)
    target[1, :, : height // 2] = 1.0
    noise = torch.tensor([0.01, 0.1, 0.3]).view(3, 1, 1, 1) * torch.randn(target.shape, generator=rng)
    return ((target + noise).clamp(0, 1) * 255).round() / 255, (target * 255).round() / 255


@pytest.mark.parametrize(
    ("size", "window"), [((64, 80), 7), ((7, 9), 7), ((97, 60), 51), ((51, 51), 51), ((20, 30), 11)], ids=str
)
def test_ssim_in_windows_of_equal_weight_is_scikit_images_default(size: tuple[int, int], window: int) -> None:
    prediction, target = pairs(*size)
    expected = [
        structural_similarity(p.double().numpy(), t.double().numpy(), win_size=window, data_range=1.0, channel_axis=0)
        for p, t in zip(prediction, target, strict=True)
    ]
    found = ssim_uniform(prediction, target, window)
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    assert found.min() < 0.9
    assert (found - ssim_uniform(prediction, target, window - 2)).abs().max() > 1e-4  # the window matters


def test_ssim_uniform_refuses_images_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match=r"at least 7x7 pixels, not \(6, 64\)"):
        ssim_uniform(torch.rand(1, 3, 6, 64), torch.rand(1, 3, 6, 64))


def test_edgeconnects_measures_are_its_script() -> None:
    prediction, target = pairs()
    for index in range(3):
        p, t = (rgb2gray(x[index].permute(1, 2, 0).double().numpy()) for x in (prediction, target))
        one = slice(index, index + 1)
        expected = peak_signal_noise_ratio(t, p, data_range=1)
        assert float(grey_psnr(prediction[one], target[one])) == pytest.approx(expected, abs=1e-5)
        expected = structural_similarity(t, p, data_range=1, win_size=51)
        assert float(grey_ssim_51(prediction[one], target[one])) == pytest.approx(expected, abs=1e-6)
        expected = 100 * np.abs(t - p).sum() / (t + p).sum()
        assert float(grey_relative_l1(prediction[one], target[one])) == pytest.approx(expected, rel=1e-6)
    black = torch.zeros(1, 3, 60, 60)
    assert grey_relative_l1(black, black).tolist() == [0.0]


def test_luma_is_cut_off_to_whole_levels() -> None:
    prediction, target = pairs()
    p, t = (
        np.floor((x.numpy() * np.float32([0.299, 0.587, 0.114]).reshape(3, 1, 1)).sum(1) * 255) for x in (prediction, target)
    )
    for index in range(3):
        _, full = structural_similarity(
            t[index].astype(float),
            p[index].astype(float),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            full=True,
        )
        one = slice(index, index + 1)
        assert float(luma_ssim(prediction[one], target[one])) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-3)
    assert (luma_ssim(prediction, target) - ssim(prediction, target)).abs().max() > 0.01
    nearly_a_level = torch.full((1, 3, 16, 16), 100.9 / 255)
    assert luma_ssim(nearly_a_level, torch.full((1, 3, 16, 16), 100.1 / 255)).tolist() == [1.0]
