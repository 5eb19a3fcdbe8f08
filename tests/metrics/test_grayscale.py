"""Metrics of single papers against scikit-image, and against formulas of the papers' code."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2gray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional as F

from lit_inpaint.metrics import gray_psnr, gray_relative_l1, gray_ssim_51, luma_ssim, ssim


def pairs(height: int = 64, width: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """8-bit predictions with noise of different strength, and their targets: smooth images, one with a flat half."""
    rng = torch.Generator().manual_seed(0)
    target = F.interpolate(torch.rand(3, 3, 8, 8, generator=rng), (height, width), mode="bicubic").clamp(0, 1)
    target[1, :, : height // 2] = 1.0
    noise = torch.tensor([0.01, 0.1, 0.3]).view(3, 1, 1, 1) * torch.randn(target.shape, generator=rng)
    return ((target + noise).clamp(0, 1) * 255).round() / 255, (target * 255).round() / 255


def test_edgeconnects_metrics_equal_its_script() -> None:
    prediction, target = pairs()
    for index in range(3):
        p, t = (rgb2gray(x[index].permute(1, 2, 0).double().numpy()) for x in (prediction, target))
        one = slice(index, index + 1)
        expected = peak_signal_noise_ratio(t, p, data_range=1)
        assert float(gray_psnr(prediction[one], target[one])) == pytest.approx(expected, abs=1e-5)
        expected = structural_similarity(t, p, data_range=1, win_size=51)
        assert float(gray_ssim_51(prediction[one], target[one])) == pytest.approx(expected, abs=1e-6)
        expected = 100 * np.abs(t - p).sum() / (t + p).sum()
        assert float(gray_relative_l1(prediction[one], target[one])) == pytest.approx(expected, rel=1e-6)
    black = torch.zeros(1, 3, 60, 60)
    assert gray_relative_l1(black, black).tolist() == [0.0]


def test_luma_is_truncated_to_8_bits() -> None:
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
    same_after_truncation = torch.full((1, 3, 16, 16), 100.9 / 255)
    assert luma_ssim(same_after_truncation, torch.full((1, 3, 16, 16), 100.1 / 255)).tolist() == [1.0]
