"""Position, size and shape of the holes of single sources."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from lit_inpaint.errors import UserError
from lit_inpaint.masks import Boxes, CellularAutomaton, Center, CrossedStrokes, FreeForm, HalfImage, Shapes, mask_ratio


def ratios(source, size: tuple[int, int], n: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.stack([mask_ratio(source(size, rng)) for _ in range(n)])


def test_mask_ratio_counts_pixels_per_sample() -> None:
    masks = torch.zeros(2, 1, 3, 4)
    masks[1, 0, :2, 0] = 1
    assert mask_ratio(masks).tolist() == [0.0, 2 / 12]
    assert mask_ratio(masks[1]).item() == 2 / 12
    assert mask_ratio(masks).dtype == torch.float64


def test_center_is_a_centered_square() -> None:
    rng = torch.Generator()
    expected = torch.zeros(1, 6, 8)
    expected[:, 2:4, 3:5] = 1
    assert torch.equal(Center(size=2)((6, 8), rng), expected)
    for size, side in [(256, 128), (256, 64), (96, 12), (96, 8), (224, 112)]:
        rows, columns = (Center(side)((size, size), rng)[0].any(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
        assert rows == columns == list(range((size - side) // 2, (size + side) // 2))
    assert Center()((256, 256), rng).sum() == 128**2
    assert Center()((64, 256), rng).sum() == 32**2
    with pytest.raises(UserError, match="larger than the image of 16x64"):
        Center(size=17)((16, 64), rng)


def test_box_respects_side_and_margin() -> None:
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


def test_no_box_gives_an_empty_mask() -> None:
    assert ratios(Boxes(count=(0, 0)), (32, 32), 3).sum() == 0


def test_thinnest_stroke_on_a_tiny_image_is_a_hole() -> None:
    assert ratios(FreeForm(strokes=(1, 1), steps=(1, 1), width=(0.0, 0.0)), (4, 5), 300).min() > 0


def test_strokes_are_symmetric() -> None:
    rng = torch.Generator().manual_seed(0)
    mean = torch.stack([FreeForm()((64, 64), rng) for _ in range(1000)]).mean(dim=(0, 1))
    assert mean[:, :32].mean().item() == pytest.approx(mean[:, 32:].mean().item(), abs=0.015)
    assert mean[:32].mean().item() == pytest.approx(mean[32:].mean().item(), abs=0.015)


def test_brush_has_the_given_width() -> None:
    """A stroke of one very short step has the area of a disc."""
    source = FreeForm(strokes=(1, 1), steps=(1, 1), width=(20 / 512, 20 / 512), step=1e-6)
    assert ratios(source, (512, 512), 20).max().item() * 512**2 == pytest.approx(3.1416 * 10**2, rel=0.05)


@pytest.mark.parametrize(
    ("scale", "after_2", "after_6"), [(1, 0.492, 0.485), (2, 0.632, 0.574), (4, 0.550, 0.505), (8, 0.466, 0.418)]
)
def test_automaton_ratio_per_scale(scale: int, after_2: float, after_6: float) -> None:
    for rounds, expected in ((2, after_2), (6, after_6)):
        sample = ratios(CellularAutomaton((scale,), (rounds, rounds)), (256, 256), 60)
        assert sample.mean().item() == pytest.approx(expected, abs=0.006 + 3 * sample.std().item() / 60**0.5)


@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_automaton_is_a_majority_filter(scale: int, rounds: int) -> None:
    """Compare with a plain loop over cells, with zeros around the grid, then over pixels."""
    size = (12 * scale - scale // 2, 17 * scale)
    cells = CellularAutomaton((1,), (0, 0))((12, 17), torch.Generator().manual_seed(3))[0].numpy().astype(int)
    assert 0.3 < cells.mean() < 0.7
    for _ in range(rounds):
        padded = np.pad(cells, 1)
        cells = np.array([[padded[y : y + 3, x : x + 3].sum() >= 5 for x in range(17)] for y in range(12)]).astype(int)
    set_pixels = [(y, x) for y in range(size[0]) for x in range(size[1]) if cells[y // scale, x // scale]]
    expected = np.zeros(size)
    for y, x in set_pixels:
        for down, right in [(0, 0)] if scale == 1 else [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]:
            if 0 <= y + down < size[0] and 0 <= x + right < size[1]:
                expected[y + down, x + right] = 1
    found = CellularAutomaton((scale,), (rounds, rounds))(size, torch.Generator().manual_seed(3))[0].numpy()
    assert np.array_equal(found, expected)


def test_half_image_is_left_or_right() -> None:
    left = torch.zeros(1, 3, 7)
    left[..., :3] = 1
    right = torch.zeros(1, 3, 7)
    right[..., 3:6] = 1
    rng = torch.Generator().manual_seed(0)
    drawn = [HalfImage()((3, 7), rng) for _ in range(200)]
    assert all(torch.equal(mask, left) or torch.equal(mask, right) for mask in drawn)
    assert sum(torch.equal(mask, left) for mask in drawn) == pytest.approx(100, abs=4 * 50**0.5)


def shapes_of(**count: tuple[int, int]) -> Shapes:
    return Shapes(**{"lines": (0, 0), "discs": (0, 0), "ellipses": (0, 0), **count})


def test_min_radius_of_discs_is_the_same_in_images_of_any_size() -> None:
    rng = torch.Generator().manual_seed(0)
    for side, max_radius in [(64, 3), (256, 15), (512, 30)]:
        areas = [int(shapes_of(discs=(1, 1)).sample_uint8((side, side), rng).sum()) for _ in range(400)]
        assert (max(areas) / np.pi) ** 0.5 == pytest.approx(max_radius, abs=0.7)
        assert (np.median(areas) / np.pi) ** 0.5 == pytest.approx((3 + max_radius) / 2, abs=0.4 + max_radius / 10)


def test_lines_are_straight_and_arcs_are_curved() -> None:
    rng = torch.Generator().manual_seed(0)
    deviations: dict[str, list[float]] = {}
    for kind in ("lines", "ellipses"):
        source = replace(shapes_of(**{kind: (1, 1)}), max_thickness=0.0)  # 3 pixels thick
        masks = [source.sample_uint8((200, 200), rng) for _ in range(60)]
        assert np.mean([cv2.erode(mask, np.ones((6, 6), np.uint8), borderValue=0).any() for mask in masks]) < 0.1
        deviations[kind] = []
        for mask in masks:
            rows, columns = np.nonzero(mask)
            if len(rows) > 100:  # an arc may lie outside the image
                around = np.stack([rows - rows.mean(), columns - columns.mean()])
                deviations[kind].append(float(np.linalg.svd(around, compute_uv=False)[1]) / len(rows) ** 0.5)
    assert max(deviations["lines"]) < 1.6
    assert max(deviations["ellipses"]) > 5
    assert not shapes_of().sample_uint8((64, 64), rng).any()


def test_crossed_strokes_have_eight_directions() -> None:
    source = CrossedStrokes(strokes=(2, 2), steps=(1, 1), length=(0.5, 0.5), width=(0.0, 0.0))
    rng, found = torch.Generator().manual_seed(0), set()
    for _ in range(60):
        count, _, stats, _ = cv2.connectedComponentsWithStats(source((401, 401), rng)[0].numpy().astype(np.uint8))
        found |= {(int(w) // 20, int(h) // 20) for _, _, w, h, _ in stats[1:count] if max(w, h) > 150}
    whole = {(abs(np.cos(a)) * 200 // 20, abs(np.sin(a)) * 200 // 20) for a in (0.01, 1.01, 2.01, 3.01)}
    assert {(int(x), int(y)) for x, y in whole} <= found | {(x - 1, y) for x, y in found} | {(x, y - 1) for x, y in found}


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: CellularAutomaton(scales=()), "scales"),
        (lambda: CellularAutomaton(scales=(0,)), "scales"),
        (lambda: CellularAutomaton(rounds=(3, 2)), "rounds"),
        (lambda: CrossedStrokes(strokes=(0, 3)), "strokes"),
        (lambda: CrossedStrokes(width=(0.5, 2.0)), "width"),
    ],
)
def test_invalid_options_are_errors(make, option: str) -> None:
    with pytest.raises(UserError, match=option):
        make()
