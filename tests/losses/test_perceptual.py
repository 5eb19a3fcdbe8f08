"""Perceptual loss by hand and against public code."""

from __future__ import annotations

import pytest
import torch
from papers import parity_fixtures as parity

from lit_inpaint.losses.perceptual import perceptual_loss
from lit_inpaint.losses.style import style_loss
from lit_inpaint.losses.vgg_features import VGGFeatures


def test_by_hand() -> None:
    torch.manual_seed(0)
    features = [torch.rand(2, 3, 4, 5, dtype=torch.float64), torch.rand(2, 6, 2, 2, dtype=torch.float64)]
    targets = [torch.rand_like(x) for x in features]
    means = [float((x - y).abs().sum()) / x.numel() for x, y in zip(features, targets, strict=True)]
    assert float(perceptual_loss(features, targets, (0.5, 2.0))) == pytest.approx(0.5 * means[0] + 2 * means[1])
    assert float(perceptual_loss(features, targets)) == pytest.approx(sum(means))
    with pytest.raises(ValueError, match="zip"):
        perceptual_loss(features, targets[:1])


def test_parity_with_nvidias_vgg_loss() -> None:
    """NVIDIA/partialconv `models/loss.py`, for weights by formula: 0.05 of the perceptual loss, 120 of the style loss."""
    expected = parity.metadata("pconv_losses")["nvidia"]
    vgg = VGGFeatures(16, ("pool1", "pool2", "pool3"), "random")
    weights = vgg.load().network.state_dict()
    for name, value in weights.items():
        value.copy_(parity.fill(name.replace("layers", "features"), value.shape, gain=2**0.5))
    with torch.no_grad():
        features, targets = vgg(parity.image(64, 7, 2)), vgg(parity.image(64, 0, 2))
    assert 0.05 * float(perceptual_loss(features, targets)) == pytest.approx(expected["vgg_weighted"], rel=1e-5)
    assert 120 * float(style_loss(features, targets)) == pytest.approx(expected["style_weighted"], rel=1e-4)
