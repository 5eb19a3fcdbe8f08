"""Each warp and color change compared with OpenCV, called in another way than by the transforms."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.data.rng import generator
from lit_inpaint.data.transforms.augmentation import LamaAugment, RandomAffine
from lit_inpaint.errors import UserError

PLAIN = LamaAugment(perspective=0.0, scale=(1.0, 1.0), rotation=0.0, shear=0.0, lens=0.0, warps=1.0, colors=0.0, flip=0.0)
"""Warps without effect, for tests that enable one at a time."""


def smooth(height: int, width: int) -> Tensor:
    """Waves of three directions, so that the interpolation method changes little."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(0.11 * x + 0.07 * y + turn) + np.cos(0.05 * x - 0.09 * y + 2 * turn) for turn in range(3)]
    return torch.from_numpy((127.5 + 60 * np.stack(waves)).astype(np.uint8))


def pixels(image: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def seed_with(random_bits: list[bool], skip: int = 0) -> int:
    """The first seed whose first three draws, after `skip` others, are below a half where `random_bits` is true."""
    for seed in range(1000):
        draws = torch.rand(6, generator=generator(seed))[skip : skip + 3] < 0.5
        if draws.tolist() == random_bits:
            return seed
    raise AssertionError("no such seed")


def draws_of(seed: int) -> tuple[list[float], list[float], NDArray[np.float32]]:
    """The draws of positions and warps, of colors, and of corners."""
    rng = generator(seed)
    torch.rand(6, generator=rng)
    return (
        torch.rand(10, generator=rng).tolist(),
        torch.rand(6, generator=rng).tolist(),
        torch.randn(4, 2, generator=rng).numpy(),
    )


def assert_close(found: Tensor, expected: NDArray[np.uint8], tolerance: int = 3) -> None:
    assert np.abs(pixels(found).astype(int) - expected.astype(int)).max() <= tolerance


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_random_affine_equals_opencvs(flip: float) -> None:
    image = smooth(80, 80)
    for seed in range(5):
        turn, right, down, _ = torch.rand(4, generator=generator(seed)).tolist()
        matrix = cv2.getRotationMatrix2D((39.5, 39.5), 10 - 20 * turn, 1)  # OpenCV turns anticlockwise
        matrix[:, 2] += matrix[:, :2] @ [16 * right - 8, 16 * down - 8]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        expected = cv2.warpAffine(pixels(image), matrix, (80, 80), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        assert_close(RandomAffine(flip=flip)(image, 80, generator(seed)), expected[:, ::-1] if flip else expected)


def test_a_random_affine_spans_its_angles_and_shifts() -> None:
    image = torch.arange(50, 150).expand(3, 100, 100).to(torch.uint8)
    shifts = [RandomAffine(0, 0.1, 0)(image, 100, generator(j))[0, 50, 50].item() - 100 for j in range(300)]
    assert -10 <= min(shifts) < -8
    assert 8 < max(shifts) <= 10
    angles = []
    for j in range(300):
        rotated = RandomAffine(10, 0, 0)(image, 100, generator(j))[0, 20:80, 20:80].double()
        angles.append(math.degrees(math.atan2((rotated[-1] - rotated[0]).mean(), (rotated[:, -1] - rotated[:, 0]).mean())))
    assert -10.3 <= min(angles) < -9
    assert 9 < max(angles) <= 10.3


def test_a_random_affine_repeats_the_edge() -> None:
    image = torch.full((3, 20, 20), 7, dtype=torch.uint8)
    assert (RandomAffine(180, 1.0)(image, 20, generator(1)) == 7).all()


def test_a_crop_without_warps_is_a_window_of_the_image() -> None:
    image = torch.randint(256, (3, 40, 50), dtype=torch.uint8)
    transform = LamaAugment(warps=0, colors=0, flip=0)
    windows = {image[:, i : i + 32, j : j + 32].numpy().tobytes() for i in range(9) for j in range(19)}
    found = {transform(image, 32, generator(j)).contiguous().numpy().tobytes() for j in range(1500)}
    assert found == windows
    flipped = {
        LamaAugment(warps=0, colors=0, flip=1)(image, 32, generator(j)).flip(-1).contiguous().numpy().tobytes() for j in (1, 2)
    }
    assert flipped <= windows


def test_an_image_that_is_too_small_is_padded_by_reflection() -> None:
    image = torch.randint(256, (3, 5, 3), dtype=torch.uint8)
    expected = np.pad(pixels(image), ((5, 6), (6, 7), (0, 0)), mode="reflect")
    assert_close(LamaAugment(warps=0, colors=0, flip=0)(image, 16, generator(0)), expected, tolerance=0)


def test_rotation_and_scale_equal_opencvs() -> None:
    image = smooth(90, 120)
    for seed in range(5):
        wide, high, turn = draws_of(seed)[0][5:8]
        right, down = draws_of(seed)[0][:2]
        scale = np.array([[0.7 + 0.6 * wide, 0, 0], [0, 0.7 + 0.6 * high, 0], [0, 0, 1]])
        rotated = np.eye(3)
        rotated[:2] = cv2.getRotationMatrix2D((0, 0), 40 - 80 * turn, 1)
        to, back = np.eye(3), np.eye(3)
        to[:2, 2], back[:2, 2] = (-59.5, -44.5), (59.5, 44.5)
        matrix = (back @ rotated @ scale @ to)[:2]
        whole = cv2.warpAffine(pixels(image), matrix, (120, 90), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        i, j = int(down * 31), int(right * 61)
        transform = replace(PLAIN, scale=(0.7, 1.3), rotation=40.0)
        assert_close(transform(image, 60, generator(seed)), whole[i : i + 60, j : j + 60])


def test_perspective_equals_opencvs() -> None:
    image = smooth(64, 96)
    seed, size = 3, 96
    draws, _, corners = draws_of(seed)
    inwards = np.abs(corners) * 0.06 * draws[4]
    last = np.array([95, 63])
    inner = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + [[1, 1], [-1, 1], [-1, -1], [1, -1]] * inwards
    outer = np.array([[0, 0], [95, 0], [95, 63], [0, 63]])
    matrix = cv2.getPerspectiveTransform((inner * last).astype(np.float32), outer.astype(np.float32))
    warped = cv2.warpPerspective(pixels(image), matrix, (96, 64), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    expected = cv2.copyMakeBorder(warped, 16, 16, 0, 0, cv2.BORDER_REFLECT_101)
    assert inwards.max() > 0.02
    assert_close(replace(PLAIN, perspective=0.06)(image, size, generator(seed)), expected)


def test_the_lens_equals_opencvs() -> None:
    image = smooth(80, 80)
    for seed in range(4):
        k = 0.6 * draws_of(seed)[0][3] - 0.3
        camera = np.array([[80, 0, 39.5], [0, 80, 39.5], [0, 0, 1]])
        maps = cv2.initUndistortRectifyMap(camera, np.array([k, k, 0, 0, 0]), np.eye(3), camera, (80, 80), cv2.CV_32FC1)
        expected = cv2.remap(pixels(image), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        assert_close(replace(PLAIN, lens=0.3)(image, 80, generator(seed)), expected)


def test_composed_warps_equal_consecutive_ones() -> None:
    """All three at once equal perspective, then affine, then lens."""
    image = smooth(96, 96)
    for seed in range(4):
        step = replace(PLAIN, perspective=0.06)(image, 96, generator(seed))
        step = replace(PLAIN, scale=(0.7, 1.3), rotation=40.0, shear=10.0)(step, 96, generator(seed))
        step = replace(PLAIN, lens=0.3)(step, 96, generator(seed))
        transform = replace(PLAIN, perspective=0.06, scale=(0.7, 1.3), rotation=40.0, shear=10.0, lens=0.3)
        gap = (transform(image, 96, generator(seed)).int() - step.int()).abs().float()
        assert gap.mean() < 1  # the steps resample three times
        assert gap.max() < 20


@pytest.mark.parametrize("kind", ["warps", "colors"])
def test_each_warp_and_each_color_change_is_drawn_independently(kind: str) -> None:
    """Three of them at probability 1/2 leave an eighth of the images unchanged."""
    image = smooth(24, 24)
    none = LamaAugment(warps=0, colors=0, flip=0)
    transform = replace(none, warps=0.5) if kind == "warps" else replace(none, colors=0.5)
    same = sum(torch.equal(transform(image, 24, generator(seed)), image) for seed in range(400))
    assert 25 < same < 80


def test_color_changes_follow_their_formulas() -> None:
    image = smooth(64, 64)
    transform = LamaAugment(warps=0, flip=0, saturation=60.0, value=40.0)
    before = pixels(image).astype(float)
    seed = seed_with([True, False, False], skip=3)
    lab = cv2.cvtColor(pixels(image), cv2.COLOR_RGB2LAB)
    light, a, b = cv2.split(lab)
    light = cv2.createCLAHE(clipLimit=1 + 3 * draws_of(seed)[1][0], tileGridSize=(8, 8)).apply(light)
    assert_close(transform(image, 64, generator(seed)), cv2.cvtColor(cv2.merge([light, a, b]), cv2.COLOR_LAB2RGB), tolerance=0)
    seed = seed_with([False, True, False], skip=3)
    gain, offset = (0.4 * draw - 0.2 for draw in draws_of(seed)[1][1:3])
    assert_close(
        transform(image, 64, generator(seed)),
        np.clip(np.round(before * (1 + gain) + 255 * offset), 0, 255).astype(np.uint8),
        tolerance=0,
    )
    seed = seed_with([False, False, True], skip=3)
    shifts = [round(2 * limit * draw - limit) for limit, draw in zip((5, 60, 40), draws_of(seed)[1][3:], strict=True)]
    hue, saturation, value = (plane.astype(int) for plane in cv2.split(cv2.cvtColor(pixels(image), cv2.COLOR_RGB2HSV)))
    planes = ((hue + shifts[0]) % 180, np.clip(saturation + shifts[1], 0, 255), np.clip(value + shifts[2], 0, 255))
    expected = cv2.cvtColor(np.stack(planes, axis=-1).astype(np.uint8), cv2.COLOR_HSV2RGB)
    assert_close(transform(image, 64, generator(seed)), expected, tolerance=0)


def test_angles_and_scales_span_their_ranges() -> None:
    """Measured by the slope around the center of a ramp."""
    image = torch.arange(28, 228).expand(3, 200, 200).to(torch.uint8)
    steps = []
    for j in range(400):
        square = replace(PLAIN, scale=(0.7, 1.3), rotation=40.0)(image, 200, generator(j))[0, 80:120, 80:120].double()
        across, down = (square[:, -1] - square[:, 0]).mean() / 39, (square[-1] - square[0]).mean() / 39
        steps.append((math.degrees(math.atan2(down, across)), math.hypot(across, down)))
    angles, slopes = (sorted(column) for column in zip(*steps, strict=True))
    assert -40.7 <= angles[0] < -37
    assert 37 < angles[-1] <= 40.7
    assert 1 / 1.3 - 0.02 <= slopes[0] < 0.80
    assert 1.36 < slopes[-1] <= 1 / 0.7 + 0.02


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (33, 20)])
def test_augmentation_depends_on_the_generator_alone_and_keeps_its_input(shape: tuple[int, int]) -> None:
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    before = image.clone()
    for transform in (RandomAffine(), LamaAugment(), LamaAugment(warps=1, colors=1)):
        first = transform(image, 24, generator(5))
        assert torch.equal(first, transform(image, 24, generator(5)))
        assert first.shape == (3, 24, 24)
        assert first.dtype == torch.uint8
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"perspective": 0.5}, "perspective <= 0.2"),
        ({"scale": (1.3, 0.7)}, "scale"),
        ({"clip": (0.0, 4.0)}, "clip"),
        ({"lens": -0.1}, "lens"),
        ({"hue": 91.0}, "hue <= 90"),
        ({"warps": 1.5}, "warps"),
        ({"colors": -0.1}, "colors"),
    ],
)
def test_invalid_lama_augmentation_is_refused(arguments: dict[str, float], named: str) -> None:
    with pytest.raises(UserError, match=f"LamaAugment needs .*{named}"):
        LamaAugment(**arguments)


@pytest.mark.parametrize("arguments", [(181.0, 0.1, 0.5), (10.0, -0.1, 0.5), (10.0, 0.1, 1.5)])
def test_invalid_random_affines_are_refused(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(UserError, match="RandomAffine needs"):
        RandomAffine(*arguments)
