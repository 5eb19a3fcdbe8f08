from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from lit_inpaint.losses.ssim import ssim_loss
from lit_inpaint.metrics import ssim


def pair(size: tuple[int, int] = (24, 31), noise: float = 0.1) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    y, x = torch.meshgrid(*(torch.linspace(0, 1, side) for side in size), indexing="ij")
    target = torch.stack([0.5 + 0.5 * torch.sin((3 + c) * x + 5 * y * c) for c in range(6)]).view(2, 3, *size)
    return (target + noise * torch.randn(2, 3, *size, generator=rng)).double(), target.double()


@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_is_one_minus_the_metric(noise: float) -> None:
    """Against a library, over the windows inside the image, and against the package's metric."""
    prediction, target = pair(noise=noise)
    channels = []
    for x, y in zip(prediction.flatten(0, 1).numpy(), target.flatten(0, 1).numpy(), strict=True):
        _, measured = structural_similarity(
            x, y, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        channels.append(measured[5:-5, 5:-5].mean())
    loss = float(ssim_loss(prediction, target))
    assert loss == pytest.approx(1 - np.mean(channels), abs=1e-9)
    assert loss == pytest.approx(1 - float(ssim(prediction, target).mean()), abs=1e-12)


def test_equal_images_have_loss_0_and_no_gradient() -> None:
    _, target = pair()
    prediction = target.clone().requires_grad_()
    loss = ssim_loss(prediction, target)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert prediction.grad is not None
    assert float(prediction.grad.abs().max()) < 1e-12


def test_gradient() -> None:
    prediction, target = pair((12, 13))
    assert torch.autograd.gradcheck(ssim_loss, (prediction[:1, :1].requires_grad_(), target[:1, :1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_single_precision_and_autocast(dtype: torch.dtype) -> None:
    """Under autocast nothing is computed in bfloat16; a bfloat16 prediction is converted."""
    prediction, target = pair((64, 64))
    rounded = prediction.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = ssim_loss(rounded, target.float())
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(ssim_loss(rounded.double(), target)), abs=2e-6)


def test_flat_areas_have_a_finite_gradient() -> None:
    prediction, target = torch.full((1, 3, 16, 16), 0.7, requires_grad=True), torch.full((1, 3, 16, 16), 0.2)
    ssim_loss(prediction, target).backward()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    assert bool((prediction.grad > 0).any())


def test_window() -> None:
    prediction, target = pair((8, 9))
    with pytest.raises(ValueError, match="at least 11x11 pixels, not \\(8, 9\\)"):
        ssim_loss(prediction, target)
    assert 0 < float(ssim_loss(prediction, target, window=7, sigma=1.0)) < 2
