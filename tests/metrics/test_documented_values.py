"""The values in the documentation of torchmetrics 1.9, by the package's own code with the true weights.

Each test is skipped where its file of weights is not in the cache.
"""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from lit_inpaint.metrics import FID, LPIPS
from lit_inpaint.metrics.inception_features import FeatureExtractor, build_inception
from lit_inpaint.storage.pretrained_weights import INCEPTION, SQUEEZENET, WeightsFile


def require(file: WeightsFile) -> None:
    if not file.path.is_file():
        pytest.skip(f"needs {file.path}: `python -m lit_inpaint.fetch {file.name}`")


@pytest.fixture
def seeded() -> None:
    """Seed the global generator as the documentation's tests do."""
    torch.manual_seed(42)


def test_lpips_of_single_images() -> None:
    """`LearnedPerceptualImagePatchSimilarity(net_type='squeeze', reduction='none')`."""
    require(SQUEEZENET)
    rng = torch.Generator().manual_seed(42)
    one, other = (torch.rand(2, 3, 100, 100, generator=rng) for _ in range(2))
    assert [f"{value:.4f}" for value in LPIPS("squeeze")(one, other).tolist()] == ["0.1024", "0.0938"]


def test_mean_lpips(seeded: None) -> None:
    """`learned_perceptual_image_patch_similarity(img1, img2, net_type='squeeze')`."""
    require(SQUEEZENET)
    one, other = torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)
    assert f"{float(LPIPS('squeeze')(one, other).mean()):.4f}" == "0.1005"


class FirstPooling(FeatureExtractor):
    """The 64 features after the first pooling of FID's Inception, for torchmetrics' scale: 8-bit (x - 128) / 128."""

    dimensions = 64

    def load(self) -> nn.Module:
        inception = build_inception()
        inception.load_state_dict(INCEPTION.read())
        layers = (inception.get_submodule(name) for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"))
        return nn.Sequential(Scale(), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Scale(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, (255 * image - 128) / 128)


def test_fid_of_64_features(seeded: None) -> None:
    """`FrechetInceptionDistance(feature=64)` of 100 images each."""
    require(INCEPTION)
    for layer in build_inception().modules():  # the example draws its images after the initial weights of its network
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    real = torch.randint(0, 200, (100, 3, 299, 299), dtype=torch.uint8)
    fake = torch.randint(100, 255, (100, 3, 299, 299), dtype=torch.uint8)
    fid = FID(FirstPooling())
    for prediction, target in zip(fake.split(25), real.split(25), strict=True):
        fid.update(prediction / 255, target / 255)
    assert f"{float(fid.compute()):.4f}" == "12.6388"
