"""LPIPS against the package, with random backbone weights in a file of torchvision's form."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from torch import nn

from lit_inpaint.errors import UserError
from lit_inpaint.metrics.lpips import LPIPS, LPIPSNet
from lit_inpaint.storage.pretrained_weights import ALEXNET, SQUEEZENET, VGG16, WeightsFile


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path))
    return tmp_path


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    target = torch.rand(3, 3, 64, 64, generator=rng)
    noise = torch.randn(target.shape, generator=rng) * torch.tensor([0.0, 0.05, 0.5]).view(3, 1, 1, 1)
    return (target + noise).clamp(0, 1), target


BUILDERS: dict[LPIPSNet, str] = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


def backbone(net: LPIPSNet) -> nn.Module:
    """torchvision's network with random weights, without a classifier."""
    with torch.device("meta"):
        network = getattr(torchvision.models, BUILDERS[net])(weights=None)
    network.classifier = nn.Identity()
    network.to_empty(device="cpu")
    rng = torch.Generator().manual_seed(1)
    for layer in network.features.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=rng)
            nn.init.uniform_(layer.bias, -0.2, 0.2, generator=rng)
    return network


@pytest.mark.parametrize(("net", "file"), [("alex", ALEXNET), ("vgg", VGG16), ("squeeze", SQUEEZENET)])
def test_lpips_equals_the_package(net: LPIPSNet, file: WeightsFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package with the same weights where torchvision would download them."""
    network = backbone(net)
    torch.save({**network.state_dict(), "classifier.6.bias": torch.zeros(1000)}, cache / file.file)
    monkeypatch.setattr(torchvision.models, BUILDERS[net], lambda **_: network)
    package = lpips.LPIPS(net=net, verbose=False)
    monkeypatch.undo()
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(cache))
    prediction, target = pairs()
    with torch.no_grad():
        expected = package(prediction, target, normalize=True).flatten().double()
        unnormalized = package(prediction, target).flatten().double()
    lpips_net = LPIPS(net)
    distances = lpips_net(prediction.double(), target.double())
    assert lpips_net.name == f"lpips_{net}"
    assert distances.dtype == torch.float64
    assert distances[0] == 0
    assert distances[1] < distances[2]
    torch.testing.assert_close(distances, expected, rtol=1e-5, atol=1e-7)
    assert abs(unnormalized[2] / expected[2] - 1) > 0.01, "the range matters"
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(lpips_net(prediction, target), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("net", "network"), [("alex", "AlexNet"), ("squeeze", "SqueezeNet 1.1")])
def test_random_weights_are_named_and_reproducible(net: LPIPSNet, network: str, cache: Path) -> None:
    first = LPIPS(net, "random")
    assert first.name == f"lpips_{net}_random_weights"
    assert first.description == f"{network} with RANDOM weights (seed 0)"
    torch.manual_seed(4)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distances = first(*pairs())
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(5)
    assert torch.equal(distances, LPIPS(net, "random")(*pairs()))


def test_nan_affects_only_its_own_image(cache: Path) -> None:
    lpips_net = LPIPS("alex", "random")
    prediction, target = pairs()
    expected = lpips_net(prediction, target)
    prediction[1, 0, 3, 3] = math.nan
    distances = lpips_net(prediction, target)
    assert distances[1].isnan()
    torch.testing.assert_close(distances[[0, 2]], expected[[0, 2]])


def test_missing_weights_give_one_line_with_a_remedy(cache: Path) -> None:
    lpips_net = LPIPS("alex")  # the constructor needs none
    with pytest.raises(UserError) as caught:
        lpips_net.require_weights()
    line = str(caught.value)
    assert str(cache / "alexnet-owt-7be5be79.pth") in line
    assert "python -m lit_inpaint.fetch alexnet" in line
    assert "PSNR, SSIM and L1 need no weights" in line
    assert "\n" not in line


@pytest.mark.parametrize("kind", ["truncated", "other network"])
def test_a_wrong_file_gives_one_line(kind: str, cache: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(300, 300)}, ALEXNET.path)
    if kind == "truncated":
        ALEXNET.path.write_bytes(ALEXNET.path.read_bytes()[:1000])
    with pytest.raises(UserError, match=re.escape(str(ALEXNET.path))) as caught:
        LPIPS("alex").require_weights()
    assert "\n" not in str(caught.value)
