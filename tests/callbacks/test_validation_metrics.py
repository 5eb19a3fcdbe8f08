from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from lit_inpaint.callbacks import ValidationMetrics
from lit_inpaint.metrics import FID, LPI, find_protocol, psnr, round_uint8, truncate_uint8
from lit_inpaint.metrics.inception_features import FeatureExtractor
from lit_inpaint.metrics.paper_protocols import f1_with_fid
from lit_inpaint.types import composite


def measure(batch_size: int, first: bool = True) -> tuple[dict[str, float], dict[str, float], str]:
    """Return what is logged, kept in `trainer.callback_metrics` and printed for twelve samples with mask ratios of 8% to 45%.

    Args:
        batch_size: of the validation batches.
        first: whether this is rank 0.
    """
    generator = torch.Generator().manual_seed(0)
    image, output = torch.rand(12, 3, 20, 20, generator=generator), torch.rand(12, 3, 20, 20, generator=generator)
    mask = torch.zeros(12, 1, 20, 20)
    for number in range(12):
        mask[number].view(-1)[: 32 + 13 * number] = 1
    logged: dict[str, float] = {}
    kept: dict[str, float] = {}
    printed: list[str] = []
    logger = SimpleNamespace(log_metrics=lambda values, step: logged.update(values))
    trainer = cast(Any, SimpleNamespace(loggers=[logger], global_step=3, is_global_zero=first, print=printed.append))
    module = cast(Any, SimpleNamespace(device="cpu", log=lambda name, value, **_: kept.update({name: value})))
    callback = ValidationMetrics()
    for _ in range(2):  # the second validation starts anew
        callback.on_validation_start(trainer, module)
        for start in range(0, 12, batch_size):
            part = slice(start, start + batch_size)
            batch = {"image": image[part], "mask": mask[part]}
            callback.on_validation_batch_end(trainer, module, {"image": output[part]}, batch, 0)
        callback.on_validation_epoch_end(trainer, module)
    composites = composite(image, output.clamp(0, 1).mul(255).round().div(255), mask)
    mask_ratios = mask.mean(dim=(1, 2, 3))
    values = psnr(composites, image)
    assert logged["val/psnr"] == pytest.approx(float(values.mean()), rel=1e-3)
    chosen = (mask_ratios > 0.1) & (mask_ratios <= 0.2)
    assert logged["val/10-20%/psnr"] == pytest.approx(float(values[chosen].mean()), rel=1e-3)
    return logged, kept, printed[-1] if printed else ""


def test_each_sample_counts_once_for_any_batch_size() -> None:
    one, kept, printed = measure(12)
    assert kept == one
    assert set(one) >= {
        f"val/{bucket.label}/{m.name}" for bucket in LPI.buckets for m in LPI.metrics if "50" not in bucket.label
    }
    assert printed.startswith(f"step 3: PSNR {one['val/psnr']:.3f} dB, SSIM ")
    for batch_size in (1, 5):
        other, _, _ = measure(batch_size)
        assert other.keys() == one.keys()
        for key, value in one.items():
            assert other[key] == pytest.approx(value, rel=1e-6), key
    assert measure(12, first=False) == (one, kept, "")


class Brightness(FeatureExtractor):
    """Mean and upper half of each image in place of Inception's features."""

    dimensions = 2
    suffix = ""

    def load(self) -> nn.Module:
        class Means(nn.Module):
            def forward(self, image: Tensor) -> Tensor:
                return torch.stack([image.mean(dim=(1, 2, 3)), image[:, :, : image.shape[-2] // 2].mean(dim=(1, 2, 3))], dim=1)

        return Means()


@pytest.mark.parametrize("batch_size", [12, 5])
def test_fid_and_the_score_that_selects_lamas_checkpoints(batch_size: int) -> None:
    """The logged names tell the number of images where there are too few; `best_metric` has a name without it."""
    lama = find_protocol("lama")
    features = Brightness()
    generator = torch.Generator().manual_seed(0)
    image, output = torch.rand(12, 3, 20, 20, generator=generator), torch.rand(12, 3, 20, 20, generator=generator)
    mask = torch.zeros(12, 1, 20, 20)
    mask[..., 5:15, 5:15] = 1
    completed, target = round_uint8(composite(image, output, mask)), round_uint8(image)
    metric = FID(features)
    metric.min_images = 100
    metric.update(completed, target)
    fid = float(metric.compute())
    ssim = float(lama.metrics[1](truncate_uint8(composite(image, output, mask)), truncate_uint8(image), mask).mean())

    def build() -> tuple[FID, ...]:
        new = FID(features)
        new.min_images = 100
        return (new,)

    logged: dict[str, float] = {}
    kept: dict[str, float] = {}
    logger = SimpleNamespace(log_metrics=lambda values, step: logged.update(values))
    trainer = cast(Any, SimpleNamespace(loggers=[logger], global_step=3, is_global_zero=False, print=print))
    module = cast(Any, SimpleNamespace(device="cpu", log=lambda name, value, **_: kept.update({name: value})))
    callback = ValidationMetrics(lama, distribution=build)
    for _ in range(2):  # the second validation starts anew
        callback.on_validation_start(trainer, module)
        for start in range(0, 12, batch_size):
            part = slice(start, start + batch_size)
            callback.on_validation_batch_end(
                trainer, module, {"image": output[part]}, {"image": image[part], "mask": mask[part]}, 0
            )
        callback.on_validation_epoch_end(trainer, module)
        assert logged["val/fid_12"] == kept["val/fid"] == pytest.approx(fid, rel=1e-6)
        assert logged["val/ssim_fid100_f1_12"] == kept["val/ssim_fid100_f1"] == pytest.approx(f1_with_fid(ssim, fid), rel=1e-5)
        assert "val/fid" not in logged
