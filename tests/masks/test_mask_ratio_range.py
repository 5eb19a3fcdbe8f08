"""`MaskRatio`: masks within a range of mask ratios, from any source."""

import time

import pytest
import torch

from lit_inpaint.errors import UserError
from lit_inpaint.masks import Boxes, Center, FreeForm, MaskRatio, MaskSource, Mixture, mask_ratio

RANGES = [(tenth / 10, (tenth + 1) / 10) for tenth in range(6)]


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize(("side", "n"), [(64, 200), (256, 60)])
def test_every_mask_is_within_the_range(low: float, high: float, side: int, n: int) -> None:
    rng = torch.Generator().manual_seed(0)
    source = MaskRatio(low=low, high=high)
    found = [mask_ratio(source((side, side), rng)).item() for _ in range(n)]
    assert all(low <= ratio < high for ratio in found)
    assert max(found) - min(found) > 0.6 * (high - low)  # over the whole range, not only at a bound


@pytest.mark.parametrize(
    "source",
    [
        Boxes(margin=0.0),
        FreeForm(strokes=(8, 9)),
        Mixture((Boxes(count=(0, 0)), FreeForm())),
        Boxes((20, 20), (0.02, 0.02), 0.0),
    ],
    ids=["boxes", "too large", "often empty", "dots"],
)
@pytest.mark.parametrize(("low", "high"), [(0.05, 0.06), (0.3, 0.301), (0.9, 0.901)])
def test_narrow_ranges_work_with_any_source(source: MaskSource, low: float, high: float) -> None:
    rng = torch.Generator().manual_seed(0)
    narrow = MaskRatio(source, low, high)
    for _ in range(10):
        assert low <= mask_ratio(narrow((60, 100), rng)).item() < high


def test_draw_within_the_range_is_unchanged() -> None:
    inner = FreeForm()
    rng, twin = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    mask = MaskRatio(inner, 0.0, 0.9)((64, 64), rng)
    assert torch.equal(mask, inner((64, 64), twin))
    assert torch.equal(rng.get_state(), twin.get_state())


def test_bounds_are_exact_where_a_product_rounds() -> None:
    """0.07 * 100 is 7.000000000000001 in floating point, yet 7 of 100 pixels are in [0.07, 0.08)."""
    rng = torch.Generator().manual_seed(0)
    dots = Boxes(count=(1, 1), side=(0.0, 0.0), margin=0.0)
    assert {int(MaskRatio(dots, 0.07, 0.08)((10, 10), rng).sum()) for _ in range(20)} == {7}
    with pytest.raises(UserError, match="no hole of a 10x10 image"):
        MaskRatio(dots, 0.065, 0.07)((10, 10), rng)


@pytest.mark.parametrize(
    ("source", "size", "message"),
    [
        (MaskRatio(Center(), 0.1, 0.2), (64, 64), r"Center\(size=None\) always has a mask ratio of 25\.0%.*10\.0% to 20\.0%"),
        (MaskRatio(Center(), 0.3, 0.4), (64, 64), "always has a mask ratio"),
        (MaskRatio(Boxes(count=(0, 0)), 0.3, 0.4), (64, 64), "the union of 1000 masks .* does not reach"),
        (
            MaskRatio(Boxes(margin=0.2), 0.4, 0.5),
            (64, 64),
            r"1000 masks of Boxes.* does not reach a mask ratio of 40\.0% to 50\.0%",
        ),
        (MaskRatio(FreeForm(), 0.12, 0.2), (3, 3), "no hole of a 3x3 image"),
        (MaskRatio(FreeForm(), 1.5, 1.6), (8, 8), "no hole of a 8x8 image"),
    ],
)
def test_unreachable_ranges_are_errors_in_one_line(source: MaskRatio, size: tuple[int, int], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        source(size, torch.Generator().manual_seed(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [64, 256])
def test_default_range_is_fast_enough_for_a_loader(side: int) -> None:
    rng = torch.Generator().manual_seed(0)
    source = MaskRatio(low=0.4, high=0.5)
    times = []
    for _ in range(40):
        start = time.perf_counter()
        source((side, side), rng)
        times.append(time.perf_counter() - start)
    assert sorted(times)[20] < 0.02  # about 2-3 ms on a quiet core; the margin is for a busy one
