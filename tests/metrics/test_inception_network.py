"""FID's Inception against pytorch-fid's, with random weights in a file of the published form."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import pytorch_fid.inception
import torch
from PIL import Image
from pytorch_fid.fid_score import get_activations
from tiny_features import images
from torch import nn

from lit_inpaint.errors import UserError
from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.inception_network import Inception, torchvision_skeleton
from lit_inpaint.storage.pretrained_weights import INCEPTION


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def write_weights() -> None:
    """Random weights and batch norms that shift and scale, under pytorch-fid's names."""
    rng = torch.Generator().manual_seed(3)
    network = torchvision_skeleton()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=rng)
        elif isinstance(layer, nn.BatchNorm2d):
            for values, low, high in ((layer.weight, 0.5, 1.5), (layer.bias, -0.2, 0.2), (layer.running_var, 0.5, 1.5)):
                nn.init.uniform_(values, low, high, generator=rng)
            nn.init.uniform_(layer.running_mean, -0.2, 0.2, generator=rng)
            nn.init.zeros_(layer.num_batches_tracked)
        elif isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    torch.save(network.state_dict(), INCEPTION.path)


def test_features_are_pytorch_fids(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own loop over a folder of PNG files, its own network, the same file of weights."""
    write_weights()
    completions, truths = images(2, 0, size=64)
    files = []
    for number, image in enumerate((*completions, *truths)):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(files[-1])
    monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: INCEPTION.read())
    theirs = get_activations(files, pytorch_fid.inception.InceptionV3([3]), batch_size=4, num_workers=0)
    inception = Inception()
    found = torch.cat([inception.of(completions), inception.of_truth(truths)]).numpy()
    assert np.std(theirs, axis=0).mean() > 0.01 * np.abs(theirs).mean(), "the images are apart by more than rounding"
    np.testing.assert_allclose(found, theirs, rtol=1e-4, atol=1e-5)
    assert inception.suffix == ""


def test_random_weights_say_so_and_are_always_the_same(cache: Path) -> None:
    inception = Inception("random")
    state = torch.get_rng_state()
    inception.require_weights()
    assert torch.equal(state, torch.get_rng_state())
    assert "RANDOM weights" in inception.about
    assert FID(inception).name == "fid_random_weights"
    torch.manual_seed(5)
    (_, image), again = images(1, 0), Inception("random")
    found = inception.of(image)
    assert torch.equal(found, again.of(image))
    assert found.shape == (1, 2048)
    assert 0.01 < found.mean() < 1


def test_missing_weights_are_one_line_with_a_remedy(cache: Path) -> None:
    fid = FID()  # constructing needs none
    with pytest.raises(UserError) as mistake:
        fid.require_weights()
    line = str(mistake.value)
    assert str(cache / "pt_inception-2015-12-05-6726825d.pth") in line
    assert "python -m lit_inpaint.fetch inception" in line
    assert "PSNR, SSIM and L1 need no weights" in line
    assert "\n" not in line


@pytest.mark.parametrize("kind", ["truncated", "other network"])
def test_a_wrong_file_is_one_line(kind: str, cache: Path) -> None:
    torch.save({"fc.weight": torch.zeros(300, 300)}, INCEPTION.path)
    if kind == "truncated":
        INCEPTION.path.write_bytes(INCEPTION.path.read_bytes()[:1000])
    with pytest.raises(UserError, match=re.escape(str(INCEPTION.path))) as mistake:
        FID().require_weights()
    assert "\n" not in str(mistake.value)
