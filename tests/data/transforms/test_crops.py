import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from lit_inpaint.data.rng import generator
from lit_inpaint.data.transforms.augmentation import LamaAugment, RandomAffine
from lit_inpaint.data.transforms.crops import (
    NativeSize,
    PolyphaseSubsample,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ResizedCenterCrop,
    Transform,
)
from lit_inpaint.errors import UserError

VIEWS = [
    ResizedCenterCrop(),
    LamaAugment(),
    LamaAugment(warps=1.0, colours=1.0),
    RandomAffine(),
    RandomCrop(),
    RandomResizedCrop(),
    RandomResizedCrop((0.01, 1.0)),
    Resize(0.5),
    PolyphaseSubsample(),
    PolyphaseSubsample(3),
]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (31, 17), (64, 64), (200, 90)])
def test_any_picture_becomes_a_square_of_bytes(view: Transform, shape: tuple[int, int]) -> None:
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    square = view(image, 16, generator(0))
    assert square.shape == (3, 16, 16)
    assert square.dtype == torch.uint8


def test_the_centre_is_cut_without_drawing() -> None:
    image = torch.arange(3 * 4 * 8, dtype=torch.uint8).view(3, 4, 8)
    rng = generator(0)
    assert torch.equal(ResizedCenterCrop()(image, 4, rng), image[:, :, 2:6])
    assert torch.equal(rng.get_state(), generator(0).get_state())


def test_a_random_square_follows_from_the_generator_alone() -> None:
    image = torch.randint(256, (3, 60, 40), dtype=torch.uint8)
    view = RandomResizedCrop((0.3, 0.9))
    assert torch.equal(view(image, 16, generator(5)), view(image, 16, generator(5)))
    assert len({view(image, 16, generator(j)).sum().item() for j in range(20)}) > 15


def test_sides_span_the_scale_and_places_span_the_picture() -> None:
    columns = torch.arange(200).expand(3, 100, 200).to(torch.uint8)
    views = [RandomResizedCrop((0.5, 1.0), flip=0)(columns, 50, generator(j))[0, 0].float() for j in range(300)]
    sides = torch.stack([(view[-1] - view[0]) * 50 / 49 for view in views])
    assert 49 <= sides.min() < 54
    assert 94 < sides.max() <= 101
    assert min(view[0] for view in views) < 5
    assert max(view[-1] for view in views) > 194


@pytest.mark.parametrize(("flip", "low", "high"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
def test_flip_is_a_probability(flip: float, low: int, high: int) -> None:
    columns = torch.arange(100).expand(3, 100, 100).to(torch.uint8)
    views = [RandomResizedCrop((1.0, 1.0), flip)(columns, 100, generator(j)) for j in range(200)]
    assert low <= sum(int(view[0, 0, 0] > view[0, 0, -1]) for view in views) <= high


@pytest.mark.parametrize("arguments", [((0.0, 1.0), 0.5), ((0.9, 0.5), 0.5), ((0.5, 1.1), 0.5), ((0.5, 1.0), 1.5)])
def test_impossible_settings_are_refused(arguments: tuple[tuple[float, float], float]) -> None:
    with pytest.raises(UserError, match="RandomResizedCrop needs"):
        RandomResizedCrop(*arguments)


def test_subsampling_keeps_every_nth_pixel_from_any_start_turned_and_mirrored() -> None:
    """At exactly n times the size nothing is resized, so each view is one of n² parts in one of eight positions."""
    image = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
    parts = {
        (i, j, turn, flip): square.flip(-1) if flip else square
        for turn in range(4)
        for i in range(2)
        for j in range(2)
        for flip in (False, True)
        for square in [image.rot90(turn, dims=(1, 2))[:, i::2, j::2]]
    }
    found = set()
    for number in range(400):
        view = PolyphaseSubsample()(image, 8, generator(number))
        found |= {key for key, part in parts.items() if torch.equal(view, part)}
    assert len(found) == 4 * 4 * 2
    plain = {PolyphaseSubsample(rotate=False, flip=0.0)(image, 8, generator(number)).numpy().tobytes() for number in range(60)}
    assert plain == {image[:, i::2, j::2].numpy().tobytes() for i in range(2) for j in range(2)}


@pytest.mark.parametrize("arguments", [(0, True, 0.5), (2, True, 1.5)])
def test_impossible_subsampling_is_refused(arguments: tuple[int, bool, float]) -> None:
    with pytest.raises(UserError, match="Subsampled needs"):
        PolyphaseSubsample(*arguments)


def test_resizing_squeezes_the_whole_picture() -> None:
    image = torch.randint(256, (3, 30, 70), dtype=torch.uint8)
    expected = F.resize(image, [16, 16], antialias=True)
    assert torch.equal(Resize()(image, 16, generator(0)), expected)
    assert torch.equal(Resize(1.0)(image, 16, generator(0)), expected.flip(-1))
    mirrored = sum(torch.equal(Resize(0.5)(image, 16, generator(j)), expected.flip(-1)) for j in range(200))
    assert 70 <= mirrored <= 130


def test_a_random_crop_is_any_window_of_the_picture() -> None:
    image = torch.randint(256, (3, 10, 12), dtype=torch.uint8)
    windows = {image[:, i : i + 8, j : j + 8].numpy().tobytes() for i in range(3) for j in range(5)}
    views = [RandomCrop(0.0)(image, 8, generator(j)) for j in range(300)]
    assert {view.numpy().tobytes() for view in views} == windows
    mirrored = [RandomCrop(1.0)(image, 8, generator(j)) for j in range(300)]
    assert all(torch.equal(mirror, view.flip(-1)) for mirror, view in zip(mirrored, views, strict=True))


@pytest.mark.parametrize("shape", [(5, 3), (1, 4), (1, 1), (6, 20)])
def test_a_crop_larger_than_the_picture_continues_it_by_its_mirror_image(shape: tuple[int, int]) -> None:
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    before = [(16 - extent) // 2 if extent < 16 else 0 for extent in shape]
    pad = [(left, max(0, 16 - extent) - left) for left, extent in zip(before, shape, strict=True)]
    padded = np.pad(image.numpy(), ((0, 0), *pad), mode="reflect")
    views = [RandomCrop(0.0)(image, 16, generator(j)).numpy() for j in range(20)]
    assert all(any(np.array_equal(view, padded[:, :, j : j + 16]) for j in range(5)) for view in views)


@pytest.mark.parametrize("view", [Resize, RandomCrop])
def test_impossible_probabilities_are_refused(view: type[Resize] | type[RandomCrop]) -> None:
    with pytest.raises(UserError, match=f"{view.__name__} needs"):
        view(1.5)


def test_the_original_is_the_picture_itself() -> None:
    image = torch.randint(256, (3, 31, 17), dtype=torch.uint8)
    rng = generator(0)
    assert torch.equal(NativeSize()(image, 16, rng), image)
    assert torch.equal(rng.get_state(), generator(0).get_state())
    assert not NativeSize.square
    assert all(view.square and view.shape((31, 17), 16) == (16, 16) for view in VIEWS)


def test_originals_are_cut_alike_at_both_ends() -> None:
    image = torch.arange(20 * 35).view(1, 20, 35).expand(3, -1, -1).to(torch.uint8)
    cut = NativeSize(multiple=8)(image, 16, generator(0))
    assert torch.equal(cut, image[:, 2:18, 2:34])  # of three columns too many two at the left


@pytest.mark.parametrize(
    ("view", "picture", "shown"),
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
def test_what_is_shown_has_the_shape_that_was_said(view: NativeSize, picture: tuple[int, int], shown: tuple[int, int]) -> None:
    assert view.shape(picture, 16) == shown
    assert view(torch.zeros(3, *picture, dtype=torch.uint8), 16, generator(0)).shape == (3, *shown)


def test_what_the_original_does_not_take() -> None:
    for options in ({"multiple": 0}, {"max_size": 0}, {"multiple": 16, "max_size": 8}):
        with pytest.raises(UserError, match="1 <= multiple <= max_size"):
            NativeSize(**options)
    with pytest.raises(
        UserError, match=r"Original\(multiple=16\) cannot show a picture of 60x15 pixels \(width x height\); leave"
    ):
        NativeSize(multiple=16).shape((15, 60), 16)
    with pytest.raises(UserError, match=r"a picture of 600x150 pixels \(width x height\), which becomes 60x15; leave"):
        NativeSize(multiple=16, max_size=60).shape((150, 600), 16)
    assert NativeSize(8, 60).describe(16) == "original sizes, at most 60 px, cut to multiples of 8"
