"""Feature extractors: caching, and no module that contains the network.

FID's Inception against pytorch-fid's, with random weights in a file of the published form.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import pytorch_fid.inception
import torch
from PIL import Image
from pytorch_fid.fid_score import get_activations
from tiny_features import TinyFeatures, images
from torch import nn

from lit_inpaint.errors import UserError
from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.inception_features import InceptionFeatures, build_inception
from lit_inpaint.metrics.kid import KID
from lit_inpaint.storage.pretrained_weights import INCEPTION


def test_each_target_and_each_completion_is_processed_once_for_two_metrics() -> None:
    features = TinyFeatures()
    batches = [images(5, seed) for seed in range(3)]
    for shift in (0.0, 1 / 255, 2 / 255):  # three methods
        metrics = [FID(features), KID(features)]
        for prediction, target in batches:
            for metric in metrics:
                metric.update((prediction + shift).clamp(0, 1), target.clone())
    assert features.num_processed == 15 + 3 * 15


def test_cached_features_equal_computed_ones() -> None:
    features, fresh = TinyFeatures(), TinyFeatures()
    (_, one), (_, other) = images(4, 0), images(4, 1)
    for batch in (one, other, one, torch.cat([one, other]), one[:2], other):
        torch.testing.assert_close(features.extract_target(batch), fresh.extract(batch), rtol=0, atol=0)
        torch.testing.assert_close(features.extract(batch), fresh.extract(batch), rtol=0, atol=0)
    wide = one.reshape(4, 3, 16, 64)  # the same bytes in another shape
    torch.testing.assert_close(features.extract_target(wide), fresh.extract(wide))


def test_the_cache_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_inpaint.metrics.inception_features._MAX_CACHED", 6)
    features = TinyFeatures()
    batches = [images(4, seed)[1] for seed in range(2)]
    for batch in batches * 2:
        features.extract_target(batch)
    assert features.num_processed == 4 + 4 + 2, "the cache holds the first batch and half of the second"


def test_many_images_are_processed_in_batches() -> None:
    features = TinyFeatures()
    _, target = images(40, 0)
    torch.testing.assert_close(features.extract(target), torch.cat([features.extract(part) for part in target.split(7)]))
    assert features.extract(target[:0]).shape == (0, 6)


def test_images_are_rounded_to_8_bits() -> None:
    features = TinyFeatures()
    _, target = images(3, 0)
    torch.testing.assert_close(features.extract(target + 0.4 / 255), features.extract(target), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(TinyFeatures().extract(target), features.extract(target)), "autocast around it has no effect"


def test_no_module_contains_the_network() -> None:
    holder = nn.Module()
    holder.fid, holder.kid = FID(TinyFeatures()), KID(TinyFeatures())
    for metric in (holder.fid, holder.kid):
        metric.update(*images(3, 0))
        assert not list(metric.parameters())
        assert not list(metric.children())
    assert not list(holder.parameters())
    assert not holder.state_dict()
    network = holder.fid.features._network
    holder.train()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_metric_can_be_copied() -> None:
    kid = KID(TinyFeatures(), subsets=3)
    kid.update(*images(8, 0))
    copy = kid.clone()
    kid.update(*images(8, 1))
    assert copy.count == 8
    assert len(pickle.dumps(FID(TinyFeatures()))) > 0


def test_a_target_with_several_masks_is_processed_once() -> None:
    features = TinyFeatures()
    _, target = images(6, 0)
    fourfold = target.repeat_interleave(4, dim=0)
    found = torch.cat([features.extract_target(batch) for batch in fourfold.split(7)])
    assert features.num_processed == 6
    torch.testing.assert_close(found, features.extract(fourfold))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def write_weights() -> None:
    """Write random weights, with batch norms that shift and scale, under pytorch-fid's names."""
    rng = torch.Generator().manual_seed(3)
    network = build_inception()
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


def test_features_equal_pytorch_fids(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytorch-fid's loop over PNG files and its network, with the same file of weights."""
    write_weights()
    completions, targets = images(2, 0, size=64)
    files = []
    for number, image in enumerate((*completions, *targets)):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(files[-1])
    monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: INCEPTION.read())
    expected = get_activations(files, pytorch_fid.inception.InceptionV3([3]), batch_size=4, num_workers=0)
    inception = InceptionFeatures()
    features = torch.cat([inception.extract(completions), inception.extract_target(targets)]).numpy()
    assert np.std(expected, axis=0).mean() > 0.01 * np.abs(expected).mean(), "the images differ by more than rounding"
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert inception.suffix == ""


def test_random_weights_are_named_and_reproducible(cache: Path) -> None:
    inception = InceptionFeatures("random")
    state = torch.get_rng_state()
    inception.require_weights()
    assert torch.equal(state, torch.get_rng_state())
    assert "RANDOM weights" in inception.description
    assert FID(inception).name == "fid_random_weights"
    torch.manual_seed(5)
    (_, image), again = images(1, 0), InceptionFeatures("random")
    found = inception.extract(image)
    assert torch.equal(found, again.extract(image))
    assert found.shape == (1, 2048)
    assert 0.01 < found.mean() < 1


def test_missing_weights_give_one_line_with_a_remedy(cache: Path) -> None:
    fid = FID()  # the constructor needs none
    with pytest.raises(UserError) as caught:
        fid.require_weights()
    line = str(caught.value)
    assert str(cache / "pt_inception-2015-12-05-6726825d.pth") in line
    assert "python -m lit_inpaint.fetch inception" in line
    assert "PSNR, SSIM and L1 need no weights" in line
    assert "\n" not in line


@pytest.mark.parametrize("kind", ["truncated", "other network"])
def test_a_wrong_file_gives_one_line(kind: str, cache: Path) -> None:
    torch.save({"fc.weight": torch.zeros(300, 300)}, INCEPTION.path)
    if kind == "truncated":
        INCEPTION.path.write_bytes(INCEPTION.path.read_bytes()[:1000])
    with pytest.raises(UserError, match=re.escape(str(INCEPTION.path))) as caught:
        FID().require_weights()
    assert "\n" not in str(caught.value)
