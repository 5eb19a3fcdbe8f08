"""PSNR, SSIM and l1 against hand values, scikit-image and torchmetrics."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional as F
from torchmetrics.functional.image import peak_signal_noise_ratio as pooled_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as padded_ssim

from lit_inpaint.metrics import l1, psnr, ssim


def pairs(height: int = 64, width: int = 80, n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images, one with a flat half, and versions of them that are wrong to different degrees."""
    rng = torch.Generator().manual_seed(0)
    target = F.interpolate(torch.rand(n, 3, 8, 8, generator=rng), (height, width), mode="bicubic").clamp(0, 1)
    target[1, :, : height // 2] = 1.0
    strength = torch.logspace(-3, -0.5, n).view(n, 1, 1, 1)
    return (target + strength * torch.randn(target.shape, generator=rng)).clamp(0, 1), target


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
def test_ssim_is_scikit_images_inside_the_border(size: tuple[int, int]) -> None:
    prediction, target = pairs(*size)
    expected = torch.tensor([skimage_ssim(p, t) for p, t in zip(prediction, target, strict=True)])
    found = ssim(prediction, target)
    assert found.dtype == torch.float64
    assert (found - expected).abs().max() < 1e-9
    assert found.min() < 0.8  # the images are far enough apart for the comparison to mean something


def test_ssim_of_flat_images_by_hand() -> None:
    black, white = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    assert ssim(black, white).item() == pytest.approx(1e-4 / 1.0001, rel=1e-9)
    assert ssim(white, white).item() == 1.0


def test_ssim_leaves_its_arguments_alone() -> None:
    prediction, target = (image.double() for image in pairs())
    before = prediction.clone(), target.clone()
    ssim(prediction, target)
    assert torch.equal(prediction, before[0])
    assert torch.equal(target, before[1])


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match=r"at least 11x11 pixels, not \(10, 64\)"):
        ssim(torch.rand(1, 3, 10, 64), torch.rand(1, 3, 10, 64))


def test_torchmetrics_ssim_differs_by_its_padded_border_only() -> None:
    prediction, target = pairs()
    padded = padded_ssim(prediction, target, data_range=1.0, reduction="none").double()
    ours = ssim(prediction, target)
    assert 1e-5 < (padded - ours).abs().max() < 0.05
    _, full = padded_ssim(prediction, target, data_range=1.0, reduction="none", return_full_image=True)
    assert torch.allclose(full[..., 5:-5, 5:-5].double().mean(dim=(1, 2, 3)), ours, atol=1e-4)


def test_psnr_by_hand_and_against_scikit_image() -> None:
    target = torch.zeros(2, 3, 4, 4)
    prediction = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 1.0)])
    assert psnr(prediction, target).tolist() == pytest.approx([20.0, 0.0], abs=1e-6)
    prediction, target = pairs()
    expected = [
        peak_signal_noise_ratio(t.double().numpy(), p.double().numpy(), data_range=1.0)
        for p, t in zip(prediction, target, strict=True)
    ]
    assert psnr(prediction, target).tolist() == pytest.approx(expected, abs=1e-9)


def test_psnr_of_the_hole_by_hand() -> None:
    target, prediction, mask = torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2), torch.zeros(2, 1, 2, 2)
    mask[:, :, 0, 0] = 1
    prediction[:, :, 0, 0] = torch.tensor([[0.1], [0.2]])
    prediction[1, :, 1, 1] = math.nan  # known pixels do not count, whatever they hold
    assert psnr(prediction, target, mask).tolist() == pytest.approx([20.0, 20 - 20 * math.log10(2)], abs=1e-6)
    assert psnr(prediction, target, torch.ones(2, 1, 2, 2))[0] == pytest.approx(20 + 10 * math.log10(4), abs=1e-6)
    assert psnr(prediction, target, torch.zeros(2, 1, 2, 2)).isnan().all()


def test_psnr_of_identical_images_is_infinite() -> None:
    image = torch.rand(2, 3, 4, 4)
    assert psnr(image, image).tolist() == [math.inf, math.inf]


def test_torchmetrics_psnr_pools_unless_told_otherwise() -> None:
    prediction, target = pairs()
    assert pooled_psnr(prediction, target, data_range=1.0) < psnr(prediction, target).mean() - 3
    each = pooled_psnr(prediction, target, data_range=1.0, dim=(1, 2, 3), reduction="none")
    assert torch.allclose(each.double(), psnr(prediction, target), atol=1e-4)


def test_l1_by_hand() -> None:
    target = torch.zeros(2, 3, 2, 2)
    prediction = torch.zeros(2, 3, 2, 2)
    prediction[0, 0, 0, 0] = 0.6  # one value of twelve
    prediction[1] = 0.25
    assert l1(prediction, target).tolist() == pytest.approx([5.0, 25.0])
    mask = torch.zeros(2, 1, 2, 2)
    mask[:, :, 0, :] = 1
    assert l1(prediction, target, mask).tolist() == pytest.approx([10.0, 25.0])
    assert l1(prediction, target, torch.zeros(2, 1, 2, 2)).isnan().all()


@pytest.mark.parametrize("measure", [psnr, ssim, l1])
def test_each_image_is_measured_by_itself(measure) -> None:
    prediction, target = pairs()
    alone = torch.cat([measure(prediction[i : i + 1], target[i : i + 1]) for i in range(4)])
    assert torch.equal(measure(prediction, target), alone)
