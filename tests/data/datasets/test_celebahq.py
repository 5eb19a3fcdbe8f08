import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from lit_inpaint.data import CelebAHQ
from lit_inpaint.data.datasets import celebahq
from lit_inpaint.data.datasets.celebahq import SplitName
from lit_inpaint.data.splits import Splits
from lit_inpaint.errors import UserError

Write = Callable[..., Path]
Pack = Callable[..., Path]
COUNT = 60
ORIGINAL = (
    [1 + index for index in range(45)] + [170_000 + index for index in range(9)] + [190_000 + index for index in range(6)]
)
"""Numbers in CelebA: of 45 training, 9 validation and 6 test images."""


@pytest.fixture(autouse=True)
def sixty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celebahq, "IMAGES", COUNT)


@pytest.fixture
def unpacked(write: Write, tmp_path: Path) -> Path:
    for number in range(COUNT):
        write(f"hq/CelebA-HQ-img/{number}.jpg", number, size=(3, 3))
    lines = ["idx         orig_idx    orig_file   "]
    lines += [f"{index:<12}{number - 1:<12}{number:06}.jpg  " for index, number in enumerate(ORIGINAL)]
    (tmp_path / "hq" / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines))
    return tmp_path / "hq"


def _numbers(splits: Splits) -> list[list[int]]:
    return [[int(Path(name).stem) for name in part.names()] for part in (splits.train, splits.val, splits.test)]


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        ("27000-3000", (54, 6, 6)),
        ("28000-2000", (56, 4, 4)),
        ("26000-2000-2000", (52, 4, 4)),
        ("24183-2993-2824", (45, 9, 6)),
        ("24000-3176-2824", (48, 6, 6)),
    ],
)
def test_every_split_is_complete_disjoint_and_named(split: SplitName, sizes: tuple[int, ...], unpacked: Path) -> None:
    data = CelebAHQ(str(unpacked), split=split)
    train, val, test = _numbers(data.splits())
    assert (len(train), len(val), len(test)) == sizes
    assert (val == test) == (split.count("-") == 1)
    assert sorted({*train, *val, *test}) == list(range(COUNT))
    assert len({*train} & {*val, *test}) == 0
    assert train == sorted(train)
    assert f"split {split}, 60 of the 60 official images, " in data.describe()
    if split != "24183-2993-2824":
        assert _numbers(CelebAHQ(str(unpacked), split=split, seed=1).splits())[0] != train


def test_the_splits_add_up_to_thirty_thousand() -> None:
    for split in get_args(SplitName):
        assert sum(map(int, split.split("-"))) == 30_000


@pytest.mark.parametrize("mapping", ["CelebA-HQ-to-CelebA-mapping.txt", "image_list.txt"])
def test_celebas_own_split_is_mapped(mapping: str, unpacked: Path) -> None:
    (unpacked / "CelebA-HQ-to-CelebA-mapping.txt").rename(unpacked / mapping)
    expected = [list(range(45)), list(range(45, 54)), list(range(54, 60))]
    assert _numbers(CelebAHQ(str(unpacked), split="24183-2993-2824").splits()) == expected
    assert _numbers(CelebAHQ(str(unpacked), split="24000-3176-2824").splits())[2] == expected[2]


def test_the_error_for_a_split_without_its_list_names_the_list(unpacked: Path) -> None:
    (unpacked / "CelebA-HQ-to-CelebA-mapping.txt").unlink()
    with pytest.raises(UserError, match=r"needs CelebA-HQ-to-CelebA-mapping\.txt .* --data\.split 27000-3000$") as caught:
        CelebAHQ(str(unpacked), split="24183-2993-2824").prepare_data()
    assert "\n" not in str(caught.value)
    assert "as there is no val_shuffled.flist" in CelebAHQ(str(unpacked), split="28000-2000").describe()


@pytest.mark.parametrize("split", ["28000-2000", "26000-2000-2000"])
def test_deepfills_list_determines_the_test_images(split: SplitName, unpacked: Path) -> None:
    (unpacked / "val_shuffled.flist").write_text("17.jpg\n./celebahq/3.png\r\n00041.jpg\n")
    data = CelebAHQ(str(unpacked), split=split)
    train, val, test = _numbers(data.splits())
    assert test == [3, 17, 41]
    assert (len(train), len(val)) == ((57, 3) if split == "28000-2000" else (53, 4))
    assert not {*train} & {*val, *test}
    assert "3 test images listed in val_shuffled.flist, the others drawn by seed 0" in data.describe()


def test_other_copies_of_the_images_have_the_same_splits(unpacked: Path, pack: Pack, tmp_path: Path) -> None:
    """Counted from one and zero-padded, in a zip, in any folder: always the same people."""
    expected = {split: _numbers(CelebAHQ(str(unpacked), split=split).splits()) for split in get_args(SplitName)}
    copy = tmp_path / "copy" / "data256x256"
    copy.mkdir(parents=True)
    for number in range(COUNT):
        (unpacked / "CelebA-HQ-img" / f"{number}.jpg").rename(copy / f"{number + 1:05}.jpg")
    roots = [tmp_path / "copy", copy, pack("zips/data256x256.zip", "copy"), tmp_path / "zips", tmp_path / "plain"]
    (tmp_path / "plain").mkdir()
    for path in copy.iterdir():
        (tmp_path / "plain" / path.name).hardlink_to(path)
    for root in roots:
        beside = root if root.is_dir() else root.parent
        (beside / "CelebA-HQ-to-CelebA-mapping.txt").write_bytes((unpacked / "CelebA-HQ-to-CelebA-mapping.txt").read_bytes())
        for split, (train, val, test) in expected.items():
            numbers = _numbers(CelebAHQ(str(root), split=split).splits())
            assert [[number - 1 for number in part] for part in numbers] == [train, val, test], (root, split)


def test_the_mapping_is_found_in_the_zip(unpacked: Path, pack: Pack, tmp_path: Path) -> None:
    expected = _numbers(CelebAHQ(str(unpacked), split="24183-2993-2824").splits())
    (tmp_path / "top").mkdir()
    unpacked.rename(tmp_path / "top" / "CelebAMask-HQ")
    mask = tmp_path / "top" / "CelebAMask-HQ" / "CelebAMask-HQ-mask-anno" / "0"
    mask.mkdir(parents=True)
    (mask / "00000_hair.png").write_bytes(b"a mask, not a face")
    archive = pack("zips/CelebAMask-HQ.zip", "top")
    for root in (archive, tmp_path / "zips", tmp_path / "top", tmp_path / "top" / "CelebAMask-HQ"):
        assert _numbers(CelebAHQ(str(root), split="24183-2993-2824").splits()) == expected


def test_two_copies_in_one_folder_are_refused(unpacked: Path, write: Write) -> None:
    write("hq/CelebA-HQ-img/7.png", 7)
    with pytest.raises(UserError, match=r"goes by the numbers .* the same in .*7\.jpg, .*7\.png; keep one copy"):
        CelebAHQ(str(unpacked), split="24183-2993-2824").splits()


def test_split_folders_are_kept(write: Write, tmp_path: Path) -> None:
    for number in range(COUNT):
        write(f"{'train' if number < 50 else 'test'}/{number}.png", number, size=(2, 2))
    splits = CelebAHQ(str(tmp_path)).splits()
    assert [len(splits.train), len(splits.val), len(splits.test)] == [50, 10, 10]
    assert re.match(r"no CelebA-HQ-img or other copy of all 60 images, so not the split 27000-3000: val is test", splits.note)


def test_an_incomplete_copy_is_split_in_proportion(unpacked: Path) -> None:
    for number in range(20, COUNT):
        (unpacked / "CelebA-HQ-img" / f"{number}.jpg").unlink()
    with pytest.warns(UserWarning, match="20 of the 60 official images"):
        splits = CelebAHQ(str(unpacked)).splits()
    assert np.array_equal([len(splits.train), len(splits.test)], [18, 2])
