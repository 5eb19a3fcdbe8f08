"""Strokes of LaMa, DeepGIN and PEPSI, compared pixel by pixel with plain loops that get the same draws."""

import math

import cv2
import numpy as np
import pytest
import torch

from lit_inpaint.masks import CrossedStrokes, IrregularStrokes, LamaMasks, PepsiStrokes
from lit_inpaint.masks.base import python_rng
from lit_inpaint.masks.straight_strokes import directions


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def below(py_rng, number: int) -> int:
    return int(py_rng.random() * number)


def lama_reference(
    seed: int, size: tuple[int, int], max_times: int, max_len: int, max_width: int, min_times: int
) -> np.ndarray:
    """The loop of the public code, in its units, with `times` as passed by its wrapper."""
    height, width = size
    mask = np.zeros(size, np.float32)
    py_rng = python_rng(generator(seed))
    for i in range(py_rng.randint(min_times, max_times + 1)):
        x, y = below(py_rng, width), below(py_rng, height)
        for _ in range(1 + below(py_rng, 5)):
            angle = 0.01 + below(py_rng, 4)
            if i % 2 == 0:
                angle = 2 * 3.1415926 - angle
            length = 10 + below(py_rng, max_len)
            brush = 5 + below(py_rng, max_width)
            end_x = int(np.clip(np.int32(x + length * math.sin(angle)), 0, width))
            end_y = int(np.clip(np.int32(y + length * math.cos(angle)), 0, height))
            cv2.line(mask, (x, y), (end_x, end_y), 1.0, brush)
            x, y = end_x, end_y
    return mask


@pytest.mark.parametrize(
    ("source", "public"),
    [
        (IrregularStrokes(), {"min_times": 1, "max_times": 5, "max_len": 200, "max_width": 100}),
        (
            IrregularStrokes(strokes=(4, 51), length=(10 / 256, 49 / 256), width=(5 / 256, 14 / 256)),
            {"min_times": 4, "max_times": 50, "max_len": 40, "max_width": 10},
        ),
    ],
    ids=["train", "thin"],
)
def test_lama_strokes_equal_the_public_code(source: IrregularStrokes, public: dict[str, int]) -> None:
    for seed in range(40):
        expected = lama_reference(seed, (256, 256), **public)
        assert np.array_equal(source((256, 256), generator(seed))[0].numpy(), expected), seed


def test_lama_strokes_start_anywhere_in_images_that_are_not_square() -> None:
    mean = np.mean([IrregularStrokes().sample_uint8((64, 192), generator(seed)) for seed in range(600)], axis=0)
    assert mean[:, :64].mean() == pytest.approx(mean[:, -64:].mean(), abs=0.06)
    assert mean[:, 64:128].mean() > 0.2


def test_number_of_angles() -> None:
    """One long thin segment: with one angle, 0.01 radians, all are upright; with two, some have 1.01 radians."""
    for angles, lean in [(1, 3), (2, 60)]:
        source = IrregularStrokes((1, 1), (1, 1), (0.3, 0.3), (0.0, 0.0), angles)
        widths = [np.ptp(np.nonzero(source.sample_uint8((256, 256), generator(seed)))[1]) for seed in range(40)]
        assert lean - 3 <= max(widths) <= lean + 10


def test_deepgin_strokes_equal_the_public_code() -> None:
    size = (256, 256)
    for seed in range(40):
        expected = np.zeros(size)
        py_rng = python_rng(generator(seed))
        for i in range(py_rng.randint(15, 23)):
            start_y, start_x = below(py_rng, 256), below(py_rng, 256)
            for _ in range(1 + below(py_rng, 5)):
                angle = 0.01 + below(py_rng, 4)
                if i % 2 == 0:
                    angle = 2 * 3.1415926 - angle
                length, brush = 10 + below(py_rng, 60), 10 + below(py_rng, 15)
                end_x, end_y = int(start_x + length * math.sin(angle)), int(start_y + length * math.cos(angle))
                cv2.line(expected, (start_y, start_x), (end_y, end_x), 1.0, brush)
                start_x, start_y = end_x, end_y
        assert np.array_equal(CrossedStrokes()(size, generator(seed))[0].numpy(), expected), seed


def test_rounding_of_sines_moves_no_vertex() -> None:
    """Whole lengths times the few sines differ from whole numbers by far more than a sine's last digit."""
    sines = np.array(directions(4)).ravel()
    assert len(set(np.abs(sines))) == 8
    products = np.arange(1, 1000)[:, None] * sines
    assert np.abs(products - products.round()).min() > 1e-6


@pytest.mark.parametrize("kind", ["thin", "medium", "thick", "thick_512"])
def test_lama_test_masks_have_ratios_up_to_half(kind) -> None:
    rng = generator(0)
    assert max(LamaMasks(kind).sample_uint8((96, 96), rng).mean() for _ in range(150)) <= 0.5
    assert max(LamaMasks("train").sample_uint8((96, 96), rng).mean() for _ in range(150)) > 0.6


@pytest.mark.parametrize(("kind", "fraction"), [("train", 1 / 2), ("train_small", 1 / 2), ("thin", 0), ("medium", 3 / 13)])
def test_fraction_of_boxes_in_lama_sets(kind, fraction: float) -> None:
    """In a union of few boxes, few rows differ from the row above; in strokes, nearly all do."""
    rng, n = generator(0), 300
    masks = [LamaMasks(kind).sample_uint8((256, 256), rng) for _ in range(n)]
    boxes = sum(int((np.diff(mask.astype(int), axis=0) != 0).any(axis=1).sum()) <= 10 for mask in masks)
    assert boxes == pytest.approx(fraction * n, abs=4 * (n * fraction * (1 - fraction)) ** 0.5)


def test_pepsi_strokes_are_round_brushes_along_the_vertices() -> None:
    """The public loop with the same draws: all pixels within the radius of a segment; OpenCV adds 1-2 %."""
    size, more, area = 256, 0, 0
    rows, columns = np.mgrid[:size, :size]
    for seed in range(6):
        py_rng = python_rng(generator(seed))
        expected = np.zeros((size, size), bool)
        for _ in range(py_rng.randint(3, 5)):
            x, y = py_rng.randint(0, size), py_rng.randint(0, size)
            vertices, radius = py_rng.randint(5, 15), py_rng.randint(15, 30)
            for _ in range(vertices):
                angle, length = py_rng.uniform(-3.14, 3.14), py_rng.randint(20, 50)
                to_x = min(size - 1, max(0, int(x + length * math.sin(angle))))
                to_y = min(size - 1, max(0, int(y + length * math.cos(angle))))
                along = (to_x - x, to_y - y)
                squared = max(along[0] ** 2 + along[1] ** 2, 1)
                nearest = np.clip(((columns - x) * along[0] + (rows - y) * along[1]) / squared, 0, 1)
                apart = (columns - x - nearest * along[0]) ** 2 + (rows - y - nearest * along[1]) ** 2
                expected |= apart <= radius**2
                x, y = to_x, to_y
        found = PepsiStrokes()((size, size), generator(seed))[0].numpy() > 0
        assert not (expected & ~found).any()
        more, area = more + int((found & ~expected).sum()), area + int(expected.sum())
    assert more < 0.02 * area
