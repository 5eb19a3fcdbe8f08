import math

import pytest
import torch

from lit_inpaint.metrics import (
    ALL_DAMAGE_BUCKETS,
    DAMAGE_BUCKETS,
    LPI,
    PROTOCOLS,
    Bucket,
    bucket_of,
    find_protocol,
    l1,
    psnr,
    score,
    ssim,
    to_8_bits,
)
from lit_inpaint.types import UserError


def test_buckets_are_the_papers_columns() -> None:
    assert [bucket.label for bucket in DAMAGE_BUCKETS] == ["10-20%", "20-30%", "30-40%", "40-50%"]
    assert [bucket.label for bucket in ALL_DAMAGE_BUCKETS] == ["0-10%", *(b.label for b in DAMAGE_BUCKETS), "50-60%"]


@pytest.mark.parametrize(
    ("share", "label"),
    [(0.1, "10-20%"), (0.2, "20-30%"), (0.3, "30-40%"), (0.49999, "40-50%"), (0.5, None), (0.0999, None), (math.nan, None)],
)
def test_a_bucket_holds_its_lower_bound_and_not_its_upper(share: float, label: str | None) -> None:
    bucket = bucket_of(share)
    assert (bucket.label if bucket else None) == label
    assert bucket_of(share, [Bucket(0.0, 0.05)]) is None


def test_find_protocol_lists_what_there_is() -> None:
    assert find_protocol("lpi") is LPI
    with pytest.raises(UserError, match=r"no protocol 'lpips'; there is: lpi") as caught:
        find_protocol("lpips")
    assert all(protocol.name in str(caught.value) for protocol in PROTOCOLS)
    assert len({protocol.name for protocol in PROTOCOLS}) == len(PROTOCOLS)


def test_8_bits_clamp_and_round() -> None:
    values = torch.tensor([-0.2, 0.0, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.0, 7.0])
    assert (to_8_bits(values) * 255).tolist() == pytest.approx([0, 0, 0, 1, 255, 255, 255])


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 3, 32, 32), generator=rng) / 255
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    return image, torch.randn(image.shape, generator=rng), mask


def test_scores_are_those_of_the_composite_in_8_bits() -> None:
    image, prediction, mask = example()
    completed = image.clone()
    completed[..., 8:24, 8:24] = ((prediction.clamp(0, 1) * 255).round() / 255)[..., 8:24, 8:24]
    scores = score(LPI, image, prediction, mask)
    assert list(scores) == ["psnr", "ssim", "l1"]
    for name, measure in (("psnr", psnr), ("ssim", ssim), ("l1", l1)):
        assert scores[name].shape == (2,)
        assert torch.allclose(scores[name], measure(completed, image), atol=1e-5)


def test_rounding_hides_less_than_half_a_grey_level_and_known_pixels_never_count() -> None:
    image, _, mask = example()
    near = image + 0.49 / 255
    assert score(LPI, image, near, mask)["l1"].tolist() == [0.0, 0.0]
    far = image.where(mask > 0.5, torch.rand(()))
    assert score(LPI, image, far, mask)["psnr"].tolist() == [math.inf, math.inf]
    one_level = (image + 1 / 255).where(image < 0.5, image - 1 / 255)
    assert score(LPI, image, one_level, mask)["l1"].tolist() == pytest.approx([100 / 255 / 4] * 2)


def test_a_prediction_in_bfloat16_is_rounded_only_by_what_it_is() -> None:
    image, prediction, mask = example()
    half = prediction.bfloat16()
    low, full = score(LPI, image, half, mask), score(LPI, image, half.float(), mask)
    assert all(torch.equal(low[name], full[name]) for name in full)


def test_a_prediction_that_is_not_a_number_cannot_pass_for_a_score() -> None:
    image, prediction, mask = example()
    prediction[0, 0, 16, 16] = math.nan
    for values in score(LPI, image, prediction, mask).values():
        assert values.isnan().tolist() == [True, False]
