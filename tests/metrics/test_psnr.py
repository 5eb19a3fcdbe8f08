"""PSNR against hand values, scikit-image and torchmetrics."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from smooth_images import noisy_pairs
from torchmetrics.functional.image import peak_signal_noise_ratio as pooled_psnr

from lit_inpaint.metrics import psnr


def test_psnr_by_hand_and_against_scikit_image() -> None:
    target = torch.zeros(2, 3, 4, 4)
    prediction = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 1.0)])
    assert psnr(prediction, target).tolist() == pytest.approx([20.0, 0.0], abs=1e-6)
    prediction, target = noisy_pairs()
    expected = [
        peak_signal_noise_ratio(t.double().numpy(), p.double().numpy(), data_range=1.0)
        for p, t in zip(prediction, target, strict=True)
    ]
    assert psnr(prediction, target).tolist() == pytest.approx(expected, abs=1e-9)


def test_psnr_of_the_hole_by_hand() -> None:
    target, prediction, mask = torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2), torch.zeros(2, 1, 2, 2)
    mask[:, :, 0, 0] = 1
    prediction[:, :, 0, 0] = torch.tensor([[0.1], [0.2]])
    prediction[1, :, 1, 1] = math.nan  # known pixels do not count
    assert psnr(prediction, target, mask).tolist() == pytest.approx([20.0, 20 - 20 * math.log10(2)], abs=1e-6)
    assert psnr(prediction, target, torch.ones(2, 1, 2, 2))[0] == pytest.approx(20 + 10 * math.log10(4), abs=1e-6)
    assert psnr(prediction, target, torch.zeros(2, 1, 2, 2)).isnan().all()


def test_psnr_of_identical_images_is_infinite() -> None:
    image = torch.rand(2, 3, 4, 4)
    assert psnr(image, image).tolist() == [math.inf, math.inf]


def test_torchmetrics_psnr_pools_by_default() -> None:
    prediction, target = noisy_pairs()
    assert pooled_psnr(prediction, target, data_range=1.0) < psnr(prediction, target).mean() - 3
    each = pooled_psnr(prediction, target, data_range=1.0, dim=(1, 2, 3), reduction="none")
    assert torch.allclose(each.double(), psnr(prediction, target), atol=1e-4)


def test_each_image_is_measured_separately() -> None:
    prediction, target = noisy_pairs()
    separate = torch.cat([psnr(prediction[i : i + 1], target[i : i + 1]) for i in range(4)])
    assert torch.equal(psnr(prediction, target), separate)
