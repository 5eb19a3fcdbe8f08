"""The dilated ResNet-50 against torchvision's, and its weights files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from lit_inpaint.errors import UserError
from lit_inpaint.losses.segmentation_features import FILE, DilatedResNet50, SegmentationFeatures, segmentation_loss


@pytest.fixture(scope="module")
def features() -> SegmentationFeatures:
    features = SegmentationFeatures("random")
    features.load()
    return features


def network(features: SegmentationFeatures) -> DilatedResNet50:
    found = features.load().network
    assert isinstance(found, DilatedResNet50)
    return found


def test_stages_are_torchvisions_with_dilation(features: SegmentationFeatures) -> None:
    reference = resnet50(replace_stride_with_dilation=[False, True, True]).eval()
    ours = network(features)
    for name in ("layer2", "layer3", "layer4"):
        reference.get_submodule(name).load_state_dict(getattr(ours, name).state_dict())
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        maps = features(image)
        x = maps[0]
        for stage, found in zip((reference.layer2, reference.layer3, reference.layer4), maps[1:], strict=True):
            x = stage(x)
            torch.testing.assert_close(found, x)
    assert [tuple(x.shape[1:]) for x in maps] == [(256, 8, 8), (512, 4, 4), (1024, 4, 4), (2048, 4, 4)]


def test_stem_and_names(features: SegmentationFeatures) -> None:
    names = dict(network(features).named_parameters())
    assert {name.split(".")[0] for name in names} == {*(f"{k}{n}" for k in ("conv", "bn") for n in (1, 2, 3)), *LAYERS}
    assert [tuple(names[f"conv{n}.weight"].shape) for n in (1, 2, 3)] == [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3)]
    assert names["layer1.0.conv1.weight"].shape == (64, 128, 1, 1)
    assert names["layer1.0.downsample.0.weight"].shape == (256, 128, 1, 1)
    plain = sum(p.numel() for name, p in resnet50().named_parameters() if not name.startswith(("fc", "conv1", "bn1")))
    stem, wider = 9 * 64 * (3 + 64 + 128) + 2 * (64 + 64 + 128), 64 * (64 + 256)  # the first block has 128 channels, not 64
    assert sum(p.numel() for p in names.values()) == plain + stem + wider == 23_631_808


LAYERS = ("layer1", "layer2", "layer3", "layer4")


def test_loss_is_the_sum_over_stages(features: SegmentationFeatures) -> None:
    maps = [torch.rand(2, 3, n, n) for n in (8, 4)]
    others = [x + 0.5 for x in maps]
    assert float(segmentation_loss(others, maps)) == pytest.approx(0.5)


def test_files(features: SegmentationFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without counters of batches, as in the published file."""
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=f"no weights of the segmentation network at {tmp_path / FILE}; put {FILE}"):
        SegmentationFeatures().load()
    state: dict[str, Tensor] = {k: v for k, v in network(features).state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / FILE)
    found = SegmentationFeatures()
    assert all(torch.equal(value, state[name]) for name, value in found.load().network.state_dict().items() if name in state)
    assert found.description == "a dilated ResNet-50 with ADE20K weights"
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth is not the ADE20K encoder resnet50dilated"):
        SegmentationFeatures(file=str(tmp_path / "other.pth")).load()
