import math

import pytest
import torch
from torch.nn import functional as F

from lit_inpaint.errors import UserError
from lit_inpaint.metrics import (
    ALL_MASK_RATIO_BUCKETS,
    LPI,
    MASK_RATIO_BUCKETS,
    PROTOCOLS,
    Bucket,
    Protocol,
    box_psnr,
    bucket_of,
    clamp_only,
    find_protocol,
    l1,
    psnr,
    round_uint8,
    score,
    ssim,
    ssim_uniform,
    truncate_uint8,
)


def test_buckets_are_the_papers_columns() -> None:
    assert [bucket.label for bucket in MASK_RATIO_BUCKETS] == ["10-20%", "20-30%", "30-40%", "40-50%"]
    assert [bucket.label for bucket in ALL_MASK_RATIO_BUCKETS] == ["0-10%", *(b.label for b in MASK_RATIO_BUCKETS), "50-60%"]


@pytest.mark.parametrize(
    ("mask_ratio", "label"),
    [(0.1, "10-20%"), (0.2, "20-30%"), (0.3, "30-40%"), (0.49999, "40-50%"), (0.5, None), (0.0999, None), (math.nan, None)],
)
def test_a_bucket_contains_its_lower_but_not_its_upper_bound(mask_ratio: float, label: str | None) -> None:
    bucket = bucket_of(mask_ratio)
    assert (bucket.label if bucket else None) == label
    assert bucket_of(mask_ratio, [Bucket(0.0, 0.05)]) is None


def test_pconvs_protocol_has_a_bucket_for_small_holes() -> None:
    """The report's hole of 64x64 in 256x256 pixels is 6.25 %."""
    protocol = find_protocol("pconv")
    found = bucket_of(64**2 / 256**2, protocol.buckets)
    assert found is not None
    assert (found.label, protocol.metrics) == ("0-10%", LPI.metrics)


def test_find_protocol_lists_all_names() -> None:
    assert find_protocol("lpi") is LPI
    with pytest.raises(UserError, match=r"no protocol 'lpips'; there are lpi.*did you mean 'lpi'\?") as caught:
        find_protocol("lpips")
    assert all(protocol.name in str(caught.value) for protocol in PROTOCOLS)
    assert len({protocol.name for protocol in PROTOCOLS}) == len(PROTOCOLS)


def test_round_uint8_clamps_and_rounds() -> None:
    values = torch.tensor([-0.2, 0.0, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.0, 7.0])
    assert (round_uint8(values) * 255).tolist() == pytest.approx([0, 0, 0, 1, 255, 255, 255])


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 3, 32, 32), generator=rng) / 255
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    return image, torch.randn(image.shape, generator=rng), mask


def test_scores_are_of_the_8_bit_composite() -> None:
    image, prediction, mask = example()
    completed = image.clone()
    completed[..., 8:24, 8:24] = ((prediction.clamp(0, 1) * 255).round() / 255)[..., 8:24, 8:24]
    scores = score(LPI, image, prediction, mask)
    assert list(scores) == ["psnr", "ssim", "l1"]
    for name, metric in (("psnr", psnr), ("ssim", ssim), ("l1", l1)):
        assert scores[name].shape == (2,)
        assert torch.allclose(scores[name], metric(completed, image), atol=1e-5)


def test_less_than_half_a_gray_level_is_rounded_away_and_known_pixels_do_not_count() -> None:
    image, _, mask = example()
    near = image + 0.49 / 255
    assert score(LPI, image, near, mask)["l1"].tolist() == [0.0, 0.0]
    far = image.where(mask > 0.5, torch.rand(()))
    assert score(LPI, image, far, mask)["psnr"].tolist() == [math.inf, math.inf]
    one_level = (image + 1 / 255).where(image < 0.5, image - 1 / 255)
    assert score(LPI, image, one_level, mask)["l1"].tolist() == pytest.approx([100 / 255 / 4] * 2)


def test_a_bfloat16_prediction_is_scored_in_float64() -> None:
    image, prediction, mask = example()
    half = prediction.bfloat16()
    low, full = score(LPI, image, half, mask), score(LPI, image, half.float(), mask)
    assert all(torch.equal(low[name], full[name]) for name in full)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_the_memory_layout_does_not_change_a_score(protocol: Protocol) -> None:
    """Equal outputs of two methods are ties, whatever the order of their dimensions in memory."""
    image, prediction = (torch.rand(3, 3, 60, 60, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    mask = torch.zeros(3, 1, 60, 60)
    mask[:, :, 10:40, 20:50] = 1
    one = score(protocol, image, prediction, mask)
    other = score(protocol, *(part.contiguous(memory_format=torch.channels_last) for part in (image, prediction)), mask)
    assert {name: values.tolist() for name, values in one.items()} == {name: values.tolist() for name, values in other.items()}


def test_a_prediction_that_is_not_a_number_cannot_pass_for_a_score() -> None:
    image, prediction, mask = example()
    prediction[0, 0, 16, 16] = math.nan
    for values in score(LPI, image, prediction, mask).values():
        assert values.isnan().tolist() == [True, False]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_every_protocol_scores_each_image_by_itself_and_sees_only_the_hole(protocol: Protocol) -> None:
    rng = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (2, 3, 64, 56), generator=rng) / 255
    prediction = image + 0.1 * torch.randn(image.shape, generator=rng)
    mask = torch.zeros(2, 1, 64, 56)
    mask[..., 20:40, 10:50] = 1
    scores = score(protocol, image, prediction, mask)
    elsewhere = score(protocol, image, prediction.where(mask > 0.5, 9.0), mask)
    for metric in protocol.metrics:
        found = scores[metric.name]
        assert found.shape == (2,)
        assert found.isfinite().all()
        assert torch.equal(found, elsewhere[metric.name])
        alone = score(protocol, image[1:], prediction[1:], mask[1:])[metric.name]
        assert found[1:].tolist() == pytest.approx(alone.tolist(), rel=1e-9)
        worse = score(protocol, image, image + 2 * (prediction - image), mask)[metric.name]
        assert ((found > worse) == metric.higher_is_better).all(), metric.name
    broken = score(protocol, image, prediction.where(prediction < 0.9, math.nan), mask)
    assert all(values.isnan().all() for values in broken.values())


def test_protocols_against_formulas() -> None:
    """Scores of each protocol for the same prediction, computed step by step."""
    image, prediction, mask = example()
    image, prediction, mask = (F.interpolate(x, scale_factor=2.0) for x in (image, prediction, mask))
    whole = torch.where(mask > 0.5, prediction, image).clamp(0, 1)
    cut = (whole * 255).int() / 255
    gray = [(x.double() * torch.tensor([0.2125, 0.7154, 0.0721]).view(1, 3, 1, 1)).sum(1, keepdim=True) for x in (cut, image)]
    expected = {
        ("deepgin", "psnr"): psnr(cut, image),
        ("deepgin", "ssim"): ssim(cut, image),
        ("deepgin", "l1_hole"): 4 * l1(cut, image),  # the hole is a quarter
        ("wavemix", "psnr"): psnr(whole, image),
        ("wavemix", "ssim"): ssim_uniform(whole, image, 7),
        ("wavemix", "l1_of_255"): (255 * whole - 255 * image).abs().mean(dim=(1, 2, 3)),
        ("wavemix", "l2_of_255"): (255 * whole - 255 * image).square().mean(dim=(1, 2, 3)),
        ("pepsi", "psnr"): psnr(whole, image),
        ("pepsi", "psnr_local"): psnr(whole[..., 16:48, 16:48], image[..., 16:48, 16:48]),
        ("edgeconnect", "psnr_gray"): psnr(*gray),
        ("edgeconnect", "ssim_gray_51"): ssim_uniform(*gray, window=51),
        ("edgeconnect", "l1_relative"): 100 * (gray[0] - gray[1]).abs().sum((1, 2, 3)) / (gray[0] + gray[1]).sum((1, 2, 3)),
    }
    for (name, metric), values in expected.items():
        found = score(find_protocol(name), image, prediction, mask)[metric]
        assert found.tolist() == pytest.approx(values.tolist(), rel=1e-5), (name, metric)


def test_truncate_uint8_keeps_8_bit_values_and_darkens_others() -> None:
    exact = torch.arange(256).double() / 255
    assert torch.equal(truncate_uint8(exact.float()), exact)
    assert (truncate_uint8(torch.tensor([-1.0, 0.99 / 255, 1.99 / 255, 2.0])) * 255).tolist() == pytest.approx([0, 0, 1, 255])
    assert clamp_only(torch.tensor([-1.0, 0.25, 2.0])).tolist() == [0, 0.25, 1]


def test_box_psnr_by_hand() -> None:
    image, prediction, mask = torch.zeros(3, 3, 8, 8), torch.zeros(3, 3, 8, 8), torch.zeros(3, 1, 8, 8)
    prediction[0, :, 1, 1] = 0.5
    mask[0, :, 1, 1] = mask[0, :, 3, 4] = 1  # a box of 3 x 4 pixels, of which one is wrong
    prediction[1:] = 0.1
    mask[1] = 1
    assert box_psnr(prediction, image, mask).tolist() == pytest.approx([-10 * math.log10(0.25 / 12), 20.0, math.inf], abs=1e-5)


def test_too_small_images_are_reported_with_the_metric() -> None:
    find_protocol("edgeconnect").require_size(51)
    with pytest.raises(
        UserError, match=r"ssim_gray_51 needs images of at least 51x51 pixels, these are 50x50; set --data.size 51"
    ):
        find_protocol("edgeconnect").require_size(50)
    with pytest.raises(UserError, match=r"at least 51x51 pixels, the shorter side of a/b\.png has 50; leave it out, or choose"):
        find_protocol("edgeconnect").require_size(50, "a/b.png")


def test_metrics_of_the_hole_leave_out_images_without_one() -> None:
    image, prediction, mask = example()
    mask[1] = 0
    found = score(find_protocol("deepgin"), image, prediction, mask)["l1_hole"]
    assert found.isfinite().tolist() == [True, False]
    assert not found.isnan().any()  # NaN would count as a failed network
