"""Mask files: reading, polarity, checks of a folder, mask-ratio range, dilation, rotation and augmentation."""

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskRatio, RandomFromFolder, mask_ratio, read_mask


def disc(side: int = 128, radius: int = 40) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    return ((x**2 + y**2) < radius**2).astype(np.uint8) * 255


def save(array: np.ndarray, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(disc(radius=20), tmp_path / "b" / "small.png")
    save(disc(radius=40), tmp_path / "a.JPG")
    corner = np.zeros((96, 160), np.uint8)
    corner[:48, :50] = 255
    save(corner, tmp_path / "c.jpeg")
    (tmp_path / "notes.txt").write_text("not a mask")
    (tmp_path / "._a.png").write_bytes(b"a resource fork")
    return tmp_path


def test_files_are_sorted_and_listed_once(folder: Path) -> None:
    source = RandomFromFolder(str(folder))
    assert [path.relative_to(folder).as_posix() for path in source.files] == ["a.JPG", "b/small.png", "c.jpeg"]
    save(disc(), folder / "later.png")
    assert len(source.files) == 3


def test_without_augmentation_files_are_unchanged(folder: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    source = RandomFromFolder(str(folder), augment=False)
    expected = {read_mask(path, (64, 64)).numpy().tobytes() for path in source.files}
    assert {source((64, 64), rng).numpy().tobytes() for _ in range(40)} == expected
    inverted = RandomFromFolder(str(folder), white_is_hole=False, augment=False)
    assert torch.equal(inverted((64, 64), rng.manual_seed(1)), 1 - source((64, 64), rng.manual_seed(1)))


def test_augmentation_moves_holes_and_keeps_values_binary(folder: Path) -> None:
    source = RandomFromFolder(str(folder))
    rng = torch.Generator().manual_seed(0)
    masks = [source((64, 48), rng) for _ in range(60)]
    assert all(mask.shape == (1, 64, 48) and mask.unique().tolist() == [0.0, 1.0] for mask in masks)
    assert len({mask.numpy().tobytes() for mask in masks}) > 40
    corners = torch.stack([mask[0, [0, 0, -1, -1], [0, -1, 0, -1]] for mask in masks])
    assert (corners.sum(dim=0) > 0).all()  # the corner mask is rotated to every corner
    assert all(torch.equal(mask, source((64, 48), rng)) for rng in [rng.manual_seed(0)] for mask in masks)


def test_folder_without_masks_is_an_error_at_construction(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} holds no image file; put the masks there"):
        RandomFromFolder(str(tmp_path))
    with pytest.raises(UserError, match="nowhere does not exist"):
        RandomFromFolder(str(tmp_path / "nowhere"))


def test_broken_file_is_named_at_construction(folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"bad\.png"):
        RandomFromFolder(str(folder))


def test_file_broken_later_is_named_when_drawn(tmp_path: Path) -> None:
    path = save(disc(), tmp_path / "bad.png")
    source = RandomFromFolder(str(tmp_path))
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"bad\.png"):
        source((8, 8), torch.Generator())


def test_constructor_reads_32_evenly_spaced_files(tmp_path: Path) -> None:
    for number in range(64):
        save(disc(16, 4), tmp_path / f"{number:02}.png")
    for number in range(1, 64, 2):
        (tmp_path / f"{number:02}.png").write_bytes(b"nothing")
    assert len(RandomFromFolder(str(tmp_path)).files) == 64
    with pytest.raises(UserError, match=r"\d\d\.png"):
        RandomFromFolder(str(tmp_path), ratio=(0.0, 1.0))
    (tmp_path / "62.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"62\.png"):
        RandomFromFolder(str(tmp_path))


@pytest.mark.parametrize(("white_is_hole", "remedy"), [(True, "black, not white.*false"), (False, "white, not black.*true")])
def test_wrong_polarity_is_warned_about_once_and_not_changed(
    white_is_hole: bool, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thin = disc(64, 10)  # a hole of 8 %
    save(255 - thin if white_is_hole else thin, tmp_path / "thin.png")
    for _ in range(2):
        source = RandomFromFolder(str(tmp_path), white_is_hole, augment=False)
    (warning,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"mean mask ratio of the masks checked in .* \(1\) is 92%.*{remedy}", warning)
    assert mask_ratio(source((64, 64), torch.Generator())) > 0.9
    RandomFromFolder(str(tmp_path), not white_is_hole)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("white_is_hole", [True, False])
@pytest.mark.parametrize(("value", "color"), [(0, "black"), (255, "white")])
def test_folder_of_blank_masks_is_an_error(value: int, color: str, white_is_hole: bool, tmp_path: Path) -> None:
    save(np.full((8, 8), value, np.uint8), tmp_path / "blank.png")
    missing = "known pixel" if white_is_hole == (value == 255) else "hole"
    with pytest.raises(UserError, match=rf"all masks checked in {tmp_path} \(1\) are entirely {color} and have no {missing};"):
        RandomFromFolder(str(tmp_path), white_is_hole)


def test_masks_without_a_hole_are_counted_and_can_be_excluded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(np.zeros((64, 64), np.uint8), tmp_path / "empty.png")
    save(disc(64, 20), tmp_path / "disc.png")
    RandomFromFolder(str(tmp_path))
    assert re.search(r"no hole in 1 of the masks checked in .* \(2\)", capsys.readouterr().err)
    assert [path.name for path in RandomFromFolder(str(tmp_path), ratio=(0.001, 1.0)).files] == ["disc.png"]


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    """Masks whose upper 10, 20, … 60 % are hole."""
    for tenth in range(1, 7):
        rows = np.zeros((40, 40), np.uint8)
        rows[: 4 * tenth] = 255
        save(rows, tmp_path / f"{tenth}.png")
    return tmp_path


def test_files_within_a_mask_ratio_range(graded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = RandomFromFolder(str(graded), augment=False, ratio=(0.2, 0.4))
    assert [path.name for path in source.files] == ["2.png", "3.png"]
    assert "2 of 6 masks in" in capsys.readouterr().err
    rng = torch.Generator().manual_seed(0)
    assert {round(float(mask_ratio(source((40, 40), rng))), 3) for _ in range(20)} == {0.2, 0.3}
    inverted = RandomFromFolder(str(graded), white_is_hole=False, ratio=(0.35, 0.45))
    assert [path.name for path in inverted.files] == ["6.png"]
    with pytest.raises(UserError, match=r"none of the 6 masks in .* ratio of 70\.0% to 80\.0%; theirs are 10\.0% to 60\.0%"):
        RandomFromFolder(str(graded), ratio=(0.7, 0.8))


def test_changed_file_is_measured_again(graded: Path) -> None:
    assert len(RandomFromFolder(str(graded), ratio=(0.6, 0.7)).files) == 1
    save(np.pad(np.full((26, 40), 255, np.uint8), ((0, 14), (0, 0))), graded / "1.png")
    os.utime(graded / "1.png", ns=(1, 1))
    assert [path.name for path in RandomFromFolder(str(graded), ratio=(0.6, 0.7)).files] == ["1.png", "6.png"]


def test_ratio_option_keeps_published_masks_where_mask_ratio_unites_them(tmp_path: Path) -> None:
    for number in range(12):  # squares of 6 % each at different positions, and one mask within the range
        square = np.zeros((64, 64), np.uint8)
        square[(number // 4) * 20 :, (number % 4) * 16 :][:16, :16] = 255
        save(square, tmp_path / f"{number:02}.png")
    save(disc(64, 14), tmp_path / "wanted.png")
    published = read_mask(tmp_path / "wanted.png")
    rng = torch.Generator().manual_seed(0)
    chosen = RandomFromFolder(str(tmp_path), augment=False, ratio=(0.1, 0.2))
    assert all(torch.equal(chosen((64, 64), rng), published) for _ in range(20))
    rejected = MaskRatio(RandomFromFolder(str(tmp_path), augment=False), 0.1, 0.2)
    masks = [rejected((64, 64), rng) for _ in range(20)]
    assert not all(torch.equal(mask, published) for mask in masks)
    assert all(0.1 <= mask_ratio(mask) < 0.2 for mask in masks)


def test_dilation_is_a_fraction_of_the_shorter_side(tmp_path: Path) -> None:
    dot = np.zeros((100, 200), np.uint8)
    dot[50, 100] = 255
    save(dot, tmp_path / "dot.png")
    rng = torch.Generator().manual_seed(0)
    source = RandomFromFolder(str(tmp_path), augment=False, dilate=(0.05, 0.11))
    masks = [source((100, 200), rng) for _ in range(60)]
    sides = {int(mask.sum()) ** 0.5 for mask in masks}
    assert sides == set(range(5, 12))
    for mask in masks:
        rows, columns = mask[0].nonzero().T
        assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) == mask.sum()  # a full square
        assert abs(rows.float().mean() - 50) <= 0.5
        assert abs(columns.float().mean() - 100) <= 0.5


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_rotation_never_needs_pixels_outside_the_file(size: tuple[int, int], tmp_path: Path) -> None:
    height, width = size
    ring = np.full(size, 255, np.uint8)  # all hole but for a known bar across the middle
    ring[height // 2 - 2 : height // 2 + 2, width // 2 - 10 : width // 2 + 10] = 0
    save(ring, tmp_path / "ring.png")
    rng = torch.Generator().manual_seed(0)
    source = RandomFromFolder(str(tmp_path), augment=False, rotate=180.0)
    angles = []
    for _ in range(40):
        known = 1 - source(size, rng)[0]
        assert not known[[0, -1]].any()
        assert not known[:, [0, -1]].any()
        rows, columns = (coords.float() - coords.float().mean() for coords in known.nonzero().T)
        turn = 0.5 * math.atan2(2 * (rows * columns).sum(), (columns**2).sum() - (rows**2).sum())
        enlarged = abs(math.cos(turn)) + abs(math.sin(turn)) * max(height / width, width / height)  # until the corners fit in
        assert float(known.sum()) / 80 == pytest.approx(enlarged**2, rel=0.2)
        angles.append(math.degrees(turn))
    assert max(angles) > 60  # the bar gets all angles
    assert min(angles) < -60
    assert sum(abs(angle) < 30 for angle in angles) > 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dilate": (0.5, 0.1)}, r"RandomFromFolder\.dilate is \(0\.5, 0\.1\)"),
        ({"rotate": 181.0}, r"RandomFromFolder\.rotate is 181\.0; expected degrees"),
        ({"ratio": (0.3, 0.3)}, r"RandomFromFolder\.ratio is \(0\.3, 0\.3\)"),
        ({"root": "~nobody_of_this_name/masks"}, "does not exist"),
    ],
)
def test_invalid_options(options: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(UserError, match=message):
        RandomFromFolder(**{"root": str(folder)} | options)
