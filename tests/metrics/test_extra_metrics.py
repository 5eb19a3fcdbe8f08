import math
from pathlib import Path
from typing import Literal

import pytest
import torch
import torchvision
from tiny_features import TinyFeatures
from torch.utils.data import DataLoader

from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.evaluator import evaluate
from lit_inpaint.metrics import FID, LPI, extra_metrics, find_protocol, load_metrics, load_protocol_metrics, round_uint8
from lit_inpaint.metrics.paper_protocols import f1_with_fid
from lit_inpaint.types import composite


class TinyInceptionFeatures(TinyFeatures):
    """Replaces `InceptionFeatures`, with its argument."""

    def __init__(self, weights: Literal["imagenet", "random"] | Path) -> None:
        super().__init__()
        self.weights = weights
        self.suffix = "_random_weights" if weights == "random" else ""


@pytest.fixture(autouse=True)
def replace_inception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra_metrics, "InceptionFeatures", TinyInceptionFeatures)


def test_per_image_and_distribution_metrics_are_added() -> None:
    extra = load_metrics(["l1_hole", "fid", "psnr", "kid_random_weights", "fid", "psnr_hole"])
    assert [metric.name for metric in extra.extend(LPI).metrics] == ["psnr", "ssim", "l1", "l1_hole", "psnr_hole"]
    assert extra.distribution is not None
    assert [metric.name for metric in extra.distribution()] == ["fid", "kid_random_weights"]
    assert extra.distribution()[0] is not extra.distribution()[0]
    assert [metric.name for metric in LPI.metrics] == ["psnr", "ssim", "l1"]
    assert load_metrics([]) == ((), None, ())
    with pytest.raises(UserError, match=r"no metric 'l1_holes'; there are .*; did you mean 'l1_hole'\?"):
        load_metrics(["l1_holes"])


def test_a_network_may_be_given_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "empty"))
    network, file = torchvision.models.squeezenet1_1(weights=None), tmp_path / "own.pth"
    torch.save(network.state_dict(), file)
    extra = load_metrics([f"lpips_squeeze={file}", f"fid={file}"])
    (metric,) = extra.per_image
    assert metric.name == "lpips_squeeze"
    assert str(file) in metric.version
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert (metric(1 - image, image, image[:, :1]) > 0).all()
    assert extra.notes == tuple(f"{name}: the network's weights are those of {file}" for name in ("lpips_squeeze", "fid"))
    assert extra.distribution is not None
    assert extra.distribution()[0].features.weights == file  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("psnr_hole=x.pth", "--metrics psnr_hole=x.pth: NAME=FILE gives the weights of lpips_alex"),
        ("lpips_squeeze=", "--metrics lpips_squeeze=: NAME=FILE"),
        ("lpips_squeeze=none.pth", r"SqueezeNet 1\.1 \(ImageNet\), for LPIPS: no weights at none\.pth; correct the path"),
        ("lpips_alex_random_weights=x.pth", "NAME=FILE gives the weights"),
    ],
)
def test_wrong_files(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_metrics([text])
    assert "\n" not in str(caught.value)


def test_a_file_of_another_network_is_named(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(3)}, file)
    with pytest.raises(UserError, match=r"other\.pth is not torchvision's SqueezeNet 1\.1 \(ImageNet\), for LPIPS$"):
        load_metrics([f"lpips_squeeze={file}"])
    file.write_bytes(b"text")
    with pytest.raises(UserError, match=r"other\.pth cannot be read; give a state dict, as \.safetensors or of torch\.save;"):
        load_metrics([f"lpips_squeeze={file}"])


@pytest.mark.filterwarnings("ignore:fid is not a number")
def test_distribution_metrics_get_8_bit_composites() -> None:
    rng = torch.Generator().manual_seed(0)
    images, masks = torch.rand(6, 3, 16, 16, generator=rng), torch.rand(6, 1, 16, 16, generator=rng).lt(0.4).float()
    loader = DataLoader([{"image": images[i], "mask": masks[i], "name": str(i)} for i in range(6)], 4)
    methods = {
        "gray": lambda image, mask: torch.full_like(image, 0.501),
        "bright": lambda image, mask: image + 0.3,
        "broken": lambda image, mask: image * torch.nan,
    }
    result = evaluate(methods, loader, LPI, torch.device("cpu"), load_metrics(["fid"]).distribution)
    for name, method in methods.items():
        direct = FID(TinyInceptionFeatures("imagenet"))
        direct.update(round_uint8(composite(images, method(images, masks), masks)), round_uint8(images))
        (score,) = result.distribution_scores[name]
        assert (score.name, score.n) == ("fid_6" if direct.min_images > 6 else "fid", 6)
        assert score.value == pytest.approx(float(direct.compute()), rel=1e-6, nan_ok=True)
    values = {row["method"]: row["value"] for row in result.rows() if row["metric"].startswith("fid")}
    assert values["gray"] != values["bright"]
    assert values["broken"] is None
    assert any(note.startswith("broken: fid") and "6 of 6" in note for note in result.notes())


@pytest.mark.filterwarnings("ignore:fid")
def test_lamas_protocol_combines_its_metrics_with_fid() -> None:
    rng = torch.Generator().manual_seed(0)
    images, masks = torch.rand(6, 3, 32, 32, generator=rng), torch.rand(6, 1, 32, 32, generator=rng).lt(0.4).float()
    loader = DataLoader([{"image": images[i], "mask": masks[i], "name": str(i)} for i in range(6)], 4)
    extra = load_metrics(["lpips_squeeze_random_weights", "fid"])
    protocol = extra.extend(find_protocol("lama"))
    result = evaluate({"gray": lambda image, mask: image * 0.9}, loader, protocol, torch.device("cpu"), extra.distribution)
    values = {row["metric"].removesuffix("_6"): row["value"] for row in result.rows() if row["value"] is not None}
    assert set(values) == {"psnr", "ssim", "lpips_squeeze_random_weights", "fid", "ssim_fid100_f1", "lpips_fid100_f1"}
    quality = (100 - values["fid"]) / 100
    for name, score in (("ssim", values["ssim"]), ("lpips", 1 - values["lpips_squeeze_random_weights"])):
        assert values[f"{name}_fid100_f1"] == pytest.approx(2 * score * quality / (score + quality + 1e-3))
    extra = load_metrics(["lpips_squeeze_random_weights", "lpips_alex_random_weights", "fid"])
    two = extra.extend(find_protocol("lama"))
    names = {"lpips_fid100_f1_squeeze_random_weights", "lpips_fid100_f1_alex_random_weights"}
    both = evaluate({"gray": lambda image, mask: image}, loader, two, torch.device("cpu"), extra.distribution)
    found = [row["metric"].removesuffix("_6") for row in both.rows() if row["metric"].startswith("lpips_fid100_f1")]
    assert len(found) == 2
    assert set(found) == names, "two columns of one name"
    without = evaluate({"gray": lambda image, mask: image}, loader, find_protocol("lama"), torch.device("cpu"))
    assert {row["metric"] for row in without.rows()} == {"psnr", "ssim"}


def test_f1_without_fid_is_no_number() -> None:
    """FID is NaN for one image, and `fit` would select a checkpoint by 0."""
    assert math.isnan(f1_with_fid(0.9, math.nan))


def test_f1_of_a_large_fid_is_zero() -> None:
    assert f1_with_fid(0.9, 250.0) == 0
    assert f1_with_fid(1.0, 0.0) == pytest.approx(2 / 2.001)


def test_metrics_of_a_protocol_need_their_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path))
    assert load_protocol_metrics(LPI) == load_metrics([])
    with pytest.raises(UserError, match=r"^protocol lama: VGG-16 .*no weights at .*; or name other --metrics, such as psnr$"):
        load_protocol_metrics(find_protocol("lama"))
