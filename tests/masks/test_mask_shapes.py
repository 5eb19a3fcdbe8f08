"""Where the holes of the drawn sources lie, and how large they are."""

import cv2
import numpy as np
import pytest
import torch

from lit_inpaint.masks import Boxes, CellularAutomaton, Centre, CrossedStrokes, FreeForm, hole_share
from lit_inpaint.types import UserError


def shares(source, size: tuple[int, int], n: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.stack([hole_share(source(size, rng)) for _ in range(n)])


def test_hole_share_counts_pixels_per_sample() -> None:
    masks = torch.zeros(2, 1, 3, 4)
    masks[1, 0, :2, 0] = 1
    assert hole_share(masks).tolist() == [0.0, 2 / 12]
    assert hole_share(masks[1]).item() == 2 / 12
    assert hole_share(masks).dtype == torch.float64


def test_centre_is_a_square_in_the_middle() -> None:
    rng = torch.Generator()
    expected = torch.zeros(1, 6, 8)
    expected[:, 2:4, 3:5] = 1
    assert torch.equal(Centre(size=2)((6, 8), rng), expected)
    assert Centre()((256, 256), rng).sum() == 128**2
    assert Centre()((64, 256), rng).sum() == 32**2
    with pytest.raises(UserError, match="larger than the image of 16x64"):
        Centre(size=17)((16, 64), rng)


def test_one_box_keeps_its_sides_and_margin() -> None:
    rng = torch.Generator().manual_seed(0)
    source = Boxes(count=(1, 1), side=(0.25, 0.5), margin=0.1)
    heights, widths, tops = set(), set(), set()
    for _ in range(2000):
        rows, columns = (source((40, 80), rng)[0].any(dim=axis).nonzero().flatten() for axis in (1, 0))
        heights.add(len(rows))
        widths.add(len(columns))
        tops.add(int(rows[0]))
        assert rows[0] >= 4
        assert rows[-1] < 36
        assert columns[0] >= 8
        assert columns[-1] < 72
    assert heights == set(range(10, 21))
    assert widths == set(range(20, 41))
    assert tops == set(range(4, 27))


def test_boxes_lose_as_much_as_lamas() -> None:
    """Mean hole share measured on the public code at 256x256, boxes only: .243."""
    sample = shares(Boxes(), (256, 256), 1500)
    assert sample.mean().item() == pytest.approx(0.243, abs=3 * 0.115 / 1500**0.5)


def test_no_box_is_an_empty_mask() -> None:
    assert shares(Boxes(count=(0, 0)), (32, 32), 3).sum() == 0


def test_strokes_lose_as_much_as_deepfills() -> None:
    """Measured on the public code at 256x256, strokes only: mean .148, 5 % below .036, 95 % below .289."""
    sample = shares(FreeForm(), (256, 256), 2000)
    assert sample.mean().item() == pytest.approx(0.148, abs=3 * 0.08 / 2000**0.5)
    assert sample.quantile(0.05).item() == pytest.approx(0.036, abs=0.006)
    assert sample.quantile(0.95).item() == pytest.approx(0.289, abs=0.015)


def test_even_a_hair_on_a_tiny_image_is_a_hole() -> None:
    assert shares(FreeForm(strokes=(1, 1), steps=(1, 1), width=(0.0, 0.0)), (4, 5), 300).min() > 0


def test_strokes_scale_with_the_image() -> None:
    assert shares(FreeForm(), (64, 64), 1000).mean().item() == pytest.approx(0.148, abs=0.012)


def test_strokes_prefer_no_side() -> None:
    rng = torch.Generator().manual_seed(0)
    mean = torch.stack([FreeForm()((64, 64), rng) for _ in range(1000)]).mean(dim=(0, 1))
    assert mean[:, :32].mean().item() == pytest.approx(mean[:, 32:].mean().item(), abs=0.015)
    assert mean[:32].mean().item() == pytest.approx(mean[32:].mean().item(), abs=0.015)


def test_brush_has_the_width_asked_for() -> None:
    """A stroke of one step: area close to width x length + a disc, over all directions."""
    source = FreeForm(strokes=(1, 1), steps=(1, 1), width=(20 / 512, 20 / 512), step=1e-6)
    assert shares(source, (512, 512), 20).max().item() * 512**2 == pytest.approx(3.1416 * 10**2, rel=0.05)


@pytest.mark.parametrize(
    ("source", "mean", "spread", "low", "high"),
    [
        (Boxes(count=(1, 1), side=(0.3, 0.7), margin=0.0), 0.249, 0.082, 0.129, 0.409),
        (CrossedStrokes(), 0.398, 0.063, 0.296, 0.503),
        (CellularAutomaton(), 0.511, 0.073, 0.374, 0.628),
    ],
    ids=["box", "strokes", "automaton"],
)
def test_deepgins_masks_lose_as_much_as_its_code_does(
    source: Boxes | CrossedStrokes | CellularAutomaton, mean: float, spread: float, low: float, high: float
) -> None:
    """Mean, spread, 5 % and 95 % measured on the public code at 256x256; both samples have an error."""
    n = 1500
    sample = shares(source, (256, 256), n)
    assert sample.mean().item() == pytest.approx(mean, abs=4 * spread / n**0.5)
    assert sample.std().item() == pytest.approx(spread, rel=0.08)
    assert sample.quantile(0.05).item() == pytest.approx(low, abs=0.015)
    assert sample.quantile(0.95).item() == pytest.approx(high, abs=0.015)


@pytest.mark.parametrize(
    ("scale", "after_2", "after_6"), [(1, 0.492, 0.485), (2, 0.632, 0.574), (4, 0.550, 0.505), (8, 0.466, 0.418)]
)
def test_the_automatons_scales(scale: int, after_2: float, after_6: float) -> None:
    for rounds, expected in ((2, after_2), (6, after_6)):
        sample = shares(CellularAutomaton((scale,), (rounds, rounds)), (256, 256), 60)
        assert sample.mean().item() == pytest.approx(expected, abs=0.006 + 3 * sample.std().item() / 60**0.5)


@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_the_automaton_is_a_median_filter(scale: int, rounds: int) -> None:
    """Against OpenCV: a median with nothing around, nearest neighbours, dilation by a cross; the grid is the noise drawn."""
    size = (12 * scale, 17 * scale)
    noise = CellularAutomaton((1,), (0, 0))((12, 17), torch.Generator().manual_seed(3))[0].numpy().astype(np.uint8)
    for _ in range(rounds):
        noise = cv2.medianBlur(np.pad(noise, 1), 3)[1:-1, 1:-1]
    expected = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_NEAREST)
    if scale > 1:
        expected = cv2.dilate(expected, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    found = CellularAutomaton((scale,), (rounds, rounds))(size, torch.Generator().manual_seed(3))[0].numpy()
    assert np.array_equal(found, expected)


def test_crossed_strokes_have_eight_directions() -> None:
    source = CrossedStrokes(strokes=(2, 2), steps=(1, 1), length=(0.5, 0.5), width=(0.0, 0.0))
    rng, found = torch.Generator().manual_seed(0), set()
    for _ in range(60):
        count, _, stats, _ = cv2.connectedComponentsWithStats(source((401, 401), rng)[0].numpy().astype(np.uint8))
        found |= {(int(w) // 20, int(h) // 20) for _, _, w, h, _ in stats[1:count] if max(w, h) > 150}
    whole = {(abs(np.cos(a)) * 200 // 20, abs(np.sin(a)) * 200 // 20) for a in (0.01, 1.01, 2.01, 3.01)}
    assert {(int(x), int(y)) for x, y in whole} <= found | {(x - 1, y) for x, y in found} | {(x, y - 1) for x, y in found}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CellularAutomaton(scales=()), "scales"),
        (lambda: CellularAutomaton(scales=(0,)), "scales"),
        (lambda: CellularAutomaton(rounds=(3, 2)), "rounds"),
        (lambda: CrossedStrokes(strokes=(0, 3)), "strokes"),
        (lambda: CrossedStrokes(width=(0.5, 2.0)), "width"),
    ],
)
def test_impossible_masks_are_refused(make, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()
