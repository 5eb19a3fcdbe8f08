from typing import Literal

import pytest
import torch
from tiny_features import TinyFeatures
from torch.utils.data import DataLoader

from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.evaluator import evaluate
from lit_inpaint.metrics import FID, LPI, extend, extra_metrics, round_uint8
from lit_inpaint.types import composite


class TinyInceptionFeatures(TinyFeatures):
    """Replaces `InceptionFeatures`, with its argument."""

    def __init__(self, weights: Literal["imagenet", "random"]) -> None:
        super().__init__()
        self.suffix = "" if weights == "imagenet" else "_random_weights"


@pytest.fixture(autouse=True)
def replace_inception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra_metrics, "InceptionFeatures", TinyInceptionFeatures)


def test_per_image_and_distribution_metrics_are_added() -> None:
    extended = extend(LPI, ["l1_hole", "fid", "psnr", "kid_random_weights", "fid", "psnr_hole"])
    assert [metric.name for metric in extended.protocol.metrics] == ["psnr", "ssim", "l1", "l1_hole", "psnr_hole"]
    assert [metric.name for metric in extended.distribution_metrics()] == ["fid", "kid_random_weights"]
    assert extended.distribution_metrics()[0] is not extended.distribution_metrics()[0]
    assert [metric.name for metric in LPI.metrics] == ["psnr", "ssim", "l1"]
    assert extend(LPI, []).distribution_metrics is None
    with pytest.raises(UserError, match=r"no metric 'l1_holes'; there are .*; did you mean 'l1_hole'\?"):
        extend(LPI, ["l1_holes"])


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
    result = evaluate(methods, loader, LPI, torch.device("cpu"), extend(LPI, ["fid"]).distribution_metrics)
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
