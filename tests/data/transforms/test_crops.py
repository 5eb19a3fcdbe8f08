import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from lit_inpaint.data.rng import generator
from lit_inpaint.data.transforms import (
    NativeSize,
    PolyphaseSubsample,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ResizedCenterCrop,
    Transform,
)
from lit_inpaint.data.transforms.augmentation import LamaAugment, RandomAffine
from lit_inpaint.errors import UserError

TRANSFORMS = [
    ResizedCenterCrop(),
    LamaAugment(),
    LamaAugment(warps=1.0, colors=1.0),
    RandomAffine(),
    RandomCrop(),
    RandomResizedCrop(),
    RandomResizedCrop((0.01, 1.0)),
    Resize(0.5),
    PolyphaseSubsample(),
    PolyphaseSubsample(3),
]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (31, 17), (64, 64), (200, 90)])
def test_any_image_becomes_a_uint8_square(transform: Transform, shape: tuple[int, int]) -> None:
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    square = transform(image, 16, generator(0))
    assert square.shape == (3, 16, 16)
    assert square.dtype == torch.uint8


def test_center_crop_draws_nothing() -> None:
    image = torch.arange(3 * 4 * 8, dtype=torch.uint8).view(3, 4, 8)
    rng = generator(0)
    assert torch.equal(ResizedCenterCrop()(image, 4, rng), image[:, :, 2:6])
    assert torch.equal(rng.get_state(), generator(0).get_state())


def test_a_random_resized_crop_depends_on_the_generator_alone() -> None:
    image = torch.randint(256, (3, 60, 40), dtype=torch.uint8)
    transform = RandomResizedCrop((0.3, 0.9))
    assert torch.equal(transform(image, 16, generator(5)), transform(image, 16, generator(5)))
    assert len({transform(image, 16, generator(j)).sum().item() for j in range(20)}) > 15


def test_random_resized_crops_span_scale_and_positions() -> None:
    columns = torch.arange(200).expand(3, 100, 200).to(torch.uint8)
    crops = [RandomResizedCrop((0.5, 1.0), flip=0)(columns, 50, generator(j))[0, 0].float() for j in range(300)]
    sides = torch.stack([(crop[-1] - crop[0]) * 50 / 49 for crop in crops])
    assert 49 <= sides.min() < 54
    assert 94 < sides.max() <= 101
    assert min(crop[0] for crop in crops) < 5
    assert max(crop[-1] for crop in crops) > 194


@pytest.mark.parametrize(("flip", "low", "high"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
def test_flip_is_a_probability(flip: float, low: int, high: int) -> None:
    columns = torch.arange(100).expand(3, 100, 100).to(torch.uint8)
    crops = [RandomResizedCrop((1.0, 1.0), flip)(columns, 100, generator(j)) for j in range(200)]
    assert low <= sum(int(crop[0, 0, 0] > crop[0, 0, -1]) for crop in crops) <= high


@pytest.mark.parametrize("arguments", [((0.0, 1.0), 0.5), ((0.9, 0.5), 0.5), ((0.5, 1.1), 0.5), ((0.5, 1.0), 1.5)])
def test_invalid_random_resized_crops_are_refused(arguments: tuple[tuple[float, float], float]) -> None:
    with pytest.raises(UserError, match="RandomResizedCrop needs"):
        RandomResizedCrop(*arguments)


def test_subsampling_keeps_every_nth_pixel_from_any_phase_rotated_and_flipped() -> None:
    """At exactly n times the size nothing is resized, so each result is one of n² phases, rotated or flipped."""
    image = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
    parts = {
        (i, j, rotation, flip): square.flip(-1) if flip else square
        for rotation in range(4)
        for i in range(2)
        for j in range(2)
        for flip in (False, True)
        for square in [image.rot90(rotation, dims=(1, 2))[:, i::2, j::2]]
    }
    found = set()
    for number in range(400):
        result = PolyphaseSubsample()(image, 8, generator(number))
        found |= {key for key, part in parts.items() if torch.equal(result, part)}
    assert len(found) == 4 * 4 * 2
    plain = {PolyphaseSubsample(rotate=False, flip=0.0)(image, 8, generator(number)).numpy().tobytes() for number in range(60)}
    assert plain == {image[:, i::2, j::2].numpy().tobytes() for i in range(2) for j in range(2)}


@pytest.mark.parametrize("arguments", [(0, True, 0.5), (2, True, 1.5)])
def test_invalid_subsampling_is_refused(arguments: tuple[int, bool, float]) -> None:
    with pytest.raises(UserError, match="PolyphaseSubsample needs"):
        PolyphaseSubsample(*arguments)


def test_resize_ignores_the_aspect_ratio() -> None:
    image = torch.randint(256, (3, 30, 70), dtype=torch.uint8)
    expected = F.resize(image, [16, 16], antialias=True)
    assert torch.equal(Resize()(image, 16, generator(0)), expected)
    assert torch.equal(Resize(1.0)(image, 16, generator(0)), expected.flip(-1))
    flipped_crops = sum(torch.equal(Resize(0.5)(image, 16, generator(j)), expected.flip(-1)) for j in range(200))
    assert 70 <= flipped_crops <= 130


def test_a_random_crop_is_any_window_of_the_image() -> None:
    image = torch.randint(256, (3, 10, 12), dtype=torch.uint8)
    windows = {image[:, i : i + 8, j : j + 8].numpy().tobytes() for i in range(3) for j in range(5)}
    crops = [RandomCrop(0.0)(image, 8, generator(j)) for j in range(300)]
    assert {crop.numpy().tobytes() for crop in crops} == windows
    flipped_crops = [RandomCrop(1.0)(image, 8, generator(j)) for j in range(300)]
    assert all(torch.equal(flipped, crop.flip(-1)) for flipped, crop in zip(flipped_crops, crops, strict=True))


@pytest.mark.parametrize("shape", [(5, 3), (1, 4), (1, 1), (6, 20)])
def test_a_crop_larger_than_the_image_pads_by_reflection(shape: tuple[int, int]) -> None:
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    before = [(16 - side) // 2 if side < 16 else 0 for side in shape]
    pad = [(left, max(0, 16 - side) - left) for left, side in zip(before, shape, strict=True)]
    padded = np.pad(image.numpy(), ((0, 0), *pad), mode="reflect")
    crops = [RandomCrop(0.0)(image, 16, generator(j)).numpy() for j in range(20)]
    assert all(any(np.array_equal(crop, padded[:, :, j : j + 16]) for j in range(5)) for crop in crops)


@pytest.mark.parametrize("transform", [Resize, RandomCrop])
def test_invalid_probabilities_are_refused(transform: type[Resize] | type[RandomCrop]) -> None:
    with pytest.raises(UserError, match=f"{transform.__name__} needs"):
        transform(1.5)


def test_native_size_returns_the_image_itself() -> None:
    image = torch.randint(256, (3, 31, 17), dtype=torch.uint8)
    rng = generator(0)
    assert torch.equal(NativeSize()(image, 16, rng), image)
    assert torch.equal(rng.get_state(), generator(0).get_state())
    assert not NativeSize.square
    assert all(transform.square and transform.output_shape((31, 17), 16) == (16, 16) for transform in TRANSFORMS)


def test_native_size_crops_equally_at_both_ends() -> None:
    image = torch.arange(20 * 35).view(1, 20, 35).expand(3, -1, -1).to(torch.uint8)
    cut = NativeSize(multiple=8)(image, 16, generator(0))
    assert torch.equal(cut, image[:, 2:18, 2:34])  # of three surplus columns, two are at the left


@pytest.mark.parametrize(
    ("transform", "image_shape", "shape"),
    [
        (NativeSize(), (1, 3), (1, 3)),
        (NativeSize(max_size=40), (40, 30), (40, 30)),
        (NativeSize(max_size=40), (20, 30), (20, 30)),
        (NativeSize(max_size=40), (80, 61), (40, 30)),
        (NativeSize(max_size=40), (3, 800), (1, 40)),
        (NativeSize(multiple=16, max_size=100), (200, 75), (96, 32)),
        (NativeSize(multiple=16), (16, 31), (16, 16)),
    ],
)
def test_native_size_has_the_output_shape(transform: NativeSize, image_shape: tuple[int, int], shape: tuple[int, int]) -> None:
    assert transform.output_shape(image_shape, 16) == shape
    assert transform(torch.zeros(3, *image_shape, dtype=torch.uint8), 16, generator(0)).shape == (3, *shape)


def test_invalid_native_sizes_are_refused() -> None:
    for options in ({"multiple": 0}, {"max_size": 0}, {"multiple": 16, "max_size": 8}):
        with pytest.raises(UserError, match="1 <= multiple <= max_size"):
            NativeSize(**options)
    with pytest.raises(
        UserError, match=r"NativeSize\(multiple=16\) does not accept an image of 60x15 pixels \(width x height\); leave"
    ):
        NativeSize(multiple=16).output_shape((15, 60), 16)
    with pytest.raises(UserError, match=r"an image of 600x150 pixels \(width x height\), which becomes 60x15; leave"):
        NativeSize(multiple=16, max_size=60).output_shape((150, 600), 16)
    assert NativeSize(8, 60).describe(16) == "original sizes, at most 60 px, cut to multiples of 8"
