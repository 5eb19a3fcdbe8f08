from typing import Literal

import pytest
import torch
from tiny_features import TinyFeatures
from torch.utils.data import DataLoader

from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.evaluator import evaluate
from lit_inpaint.metrics import FID, LPI, extend, extra_metrics, round_uint8
from lit_inpaint.types import composite


class Looking(TinyFeatures):
    """Stands in for Inception, with its argument."""

    def __init__(self, weights: Literal["imagenet", "random"]) -> None:
        super().__init__()
        self.suffix = "" if weights == "imagenet" else "_random_weights"


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra_metrics, "Inception", Looking)


def test_columns_of_images_and_of_sets_are_told_apart() -> None:
    found = extend(LPI, ["l1_hole", "fid", "psnr", "kid_random_weights", "fid", "psnr_hole"])
    assert [measure.name for measure in found.protocol.metrics] == ["psnr", "ssim", "l1", "l1_hole", "psnr_hole"]
    assert [measure.name for measure in found.of_sets()] == ["fid", "kid_random_weights"]
    assert found.of_sets()[0] is not found.of_sets()[0]
    assert [measure.name for measure in LPI.metrics] == ["psnr", "ssim", "l1"]
    assert extend(LPI, []).of_sets() == ()
    with pytest.raises(UserError, match=r"no metric 'l1_holes'; there are .*; did you mean 'l1_hole'\?"):
        extend(LPI, ["l1_holes"])


@pytest.mark.filterwarnings("ignore:fid is not a number")
def test_an_evaluation_hands_8_bit_composites_to_measures_of_sets() -> None:
    rng = torch.Generator().manual_seed(0)
    images, masks = torch.rand(6, 3, 16, 16, generator=rng), torch.rand(6, 1, 16, 16, generator=rng).lt(0.4).float()
    loader = DataLoader([{"image": images[i], "mask": masks[i], "name": str(i)} for i in range(6)], 4)
    methods = {
        "grey": lambda image, mask: torch.full_like(image, 0.501),
        "bright": lambda image, mask: image + 0.3,
        "broken": lambda image, mask: image * torch.nan,
    }
    scores = evaluate(methods, loader, LPI, torch.device("cpu"), extend(LPI, ["fid"]).of_sets)
    for name, method in methods.items():
        direct = FID(Looking("imagenet"))
        direct.update(round_uint8(composite(images, method(images, masks), masks)), round_uint8(images))
        (found,) = scores.of_sets[name]
        assert (found.name, found.n) == ("fid_6" if direct.enough > 6 else "fid", 6)
        assert found.value == pytest.approx(float(direct.compute()), rel=1e-6, nan_ok=True)
    values = {row["method"]: row["value"] for row in scores.rows() if row["metric"].startswith("fid")}
    assert values["grey"] != values["bright"]
    assert values["broken"] is None
    assert any(remark.startswith("broken: fid") and "6 of 6" in remark for remark in scores.notes())
