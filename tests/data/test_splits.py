import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from split_names import stems

from lit_inpaint.data import CelebA, Folder, ListFile
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import random_subset, split_by_name
from lit_inpaint.errors import UserError

Write = Callable[..., Path]


def _parts(number: int, seed: int = 0) -> list[set[str]]:
    """The names in train, val and test of the first `number` images of a folder."""
    splits = split_by_name(ImageFiles.from_names(Path("root"), [f"{i}.png" for i in range(number)]), seed)
    return [set(names) for names in stems(splits)]


def test_a_folder_is_split_90_5_5_by_the_seed(write: Write, tmp_path: Path) -> None:
    for i in range(40):
        write(f"{i:02}.png", i, size=(2, 2))
    splits = Folder(str(tmp_path)).splits()
    train, val, test = stems(splits)
    assert min(len(val), len(test)) >= 1
    assert len(train) >= 30
    assert sorted(train + val + test) == [f"{i:02}" for i in range(40)]
    assert Folder(str(tmp_path)).splits() == splits != Folder(str(tmp_path), seed=1).splits()


def test_a_large_folder_is_split_in_these_fractions() -> None:
    """Standard deviation of the counts: 44."""
    for seed in range(3):
        train, val, test = _parts(40_000, seed)
        assert len(train) + len(val) + len(test) == 40_000
        assert abs(len(val) - 2_000) < 160
        assert abs(len(test) - 2_000) < 160


@pytest.mark.parametrize("seed", range(8))
def test_more_images_move_no_image_from_train_to_the_held_out_ones(seed: int) -> None:
    trained, val, test = _parts(4, seed)
    for number in range(5, 130):
        train, val, test = _parts(number, seed)
        assert not trained & (val | test)
        assert train | val | test == {str(i) for i in range(number)}
        assert not train & (val | test)
        assert val
        assert test
        assert (val == test) == (number < 20 or len(val | test) == 1)
        assert val == test or not val & test
        trained = train


def test_another_suffix_or_an_archive_changes_no_split(write: Write, tmp_path: Path, pack: Write) -> None:
    for i in range(24):
        write(f"images/{i}.png", i, size=(2, 2))
    before = stems(Folder(str(tmp_path / "images")).splits())
    pack("packed.zip")
    assert stems(CelebA(str(tmp_path / "packed.zip")).splits()) == before
    for i in range(24):
        (tmp_path / f"images/{i}.png").rename(tmp_path / f"images/{i}.jpg")
    assert stems(Folder(str(tmp_path / "images")).splits()) == before


def test_more_lines_of_a_list_move_no_image_to_the_held_out_ones(write: Write, tmp_path: Path) -> None:
    names = [str(write(f"images/a/{i}.png", size=(2, 2)).relative_to(tmp_path)) for i in range(30)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    trained = set(stems(ListFile(train=str(tmp_path / "list.txt")).splits())[0])
    other = str(write("images/b/x.png", size=(2, 2)).relative_to(tmp_path))  # changes the deepest common folder
    (tmp_path / "list.txt").write_text("\n".join([*names, other]))
    _, val, test = stems(ListFile(train=str(tmp_path / "list.txt")).splits())
    assert not trained & {*val, *test}


@pytest.mark.parametrize("number", [2, 3, 19])
def test_of_few_images_val_is_test(write: Write, tmp_path: Path, number: int) -> None:
    for i in range(number):
        write(f"{i}.png", size=(2, 2))
    splits = Folder(str(tmp_path)).splits()
    assert len(splits.train) >= 1
    assert len(splits.val) >= 1
    assert splits.test == splits.val
    assert not set(splits.train) & set(splits.val)
    assert splits.note == "split 90:5:5 by names, seed 0, test is val"


def test_a_single_image_is_in_every_split_with_a_warning(write: Write, tmp_path: Path) -> None:
    path = write("only.png")
    with pytest.warns(UserWarning, match="only image"):
        splits = Folder(str(tmp_path)).splits()
    assert splits.train == splits.val == splits.test == ImageFiles.from_paths([path])


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ("train val test", [["train"], ["val"], ["test"]]),
        ("train val", [["train"], ["val"], ["val"]]),
        ("train test", [["train"], ["test"], ["test"]]),
        ("test", [[], ["test"], ["test"]]),
    ],
)
def test_split_folders_are_the_splits(write: Write, tmp_path: Path, folders: str, expected: list[list[str]]) -> None:
    for name in folders.split():
        write(f"{name}/deep/{name}.png")
    assert stems(Folder(str(tmp_path)).splits()) == expected


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ("train valid test", ["train", "valid", "test"]),
        ("Train VAL Test", ["Train", "VAL", "Test"]),
        ("training validation testing", ["training", "validation", "testing"]),
    ],
)
def test_other_names_of_split_folders(write: Write, tmp_path: Path, folders: str, expected: list[str]) -> None:
    for name in folders.split():
        write(f"images/{name}/{name}.png")
    assert [names for [names] in stems(Folder(str(tmp_path / "images")).splits())] == expected


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            "train2017 val2017",
            "has train2017/, val2017/ beside other folders of splits; rename what is a split to train/, val/",
        ),
        ("train eval", "has eval/ beside other folders of splits"),
        ("Train train val", "has Train/ and train/, both named for train; keep one"),
        ("photos/train photos/test", "/photos has test/ and train/, .* --data.root .*/photos"),
        ("a/b/training a/b/valid", "/a/b has training/ and valid/"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_unclear_split_folders_are_refused(
    write: Write, pack: Write, tmp_path: Path, folders: str, message: str, packed: bool
) -> None:
    for number, name in enumerate(folders.split()):
        write(f"images/{name}/{number}.png")
    data = CelebA(str(pack("packed.zip"))) if packed else Folder(str(tmp_path / "images"))
    if packed:
        message = message.partition(", .*")[0]
    with pytest.raises(UserError, match=message) as error:
        data.splits()
    assert "\n" not in str(error.value)


def test_classes_that_are_named_like_one_split_are_no_splits(write: Write, tmp_path: Path) -> None:
    for name in ("test1", "test2", "train_station", "valley"):
        for i in range(4):
            write(f"{name}/{i}.png")
    splits = Folder(str(tmp_path)).splits()
    assert len(splits.train) + len(splits.val) == 16


def test_test_images_validate_with_a_warning_and_a_note(write: Write, tmp_path: Path) -> None:
    write("train/0.png")
    write("test/1.png")
    with pytest.warns(UserWarning, match=r"no validation images beside the 1 test images, .*/test/1\.png .*best\.ckpt"):
        splits = Folder(str(tmp_path)).splits()
    assert splits.note == "val is test, so best.ckpt is chosen by the test images"
    write("val/2.png")
    assert Folder(str(tmp_path)).splits().note == "train, val and test folders"


def test_images_beside_the_split_folders_are_noted(write: Write, tmp_path: Path) -> None:
    for name in ("train/0.png", "val/1.png", "masks/1.png", "extra/2.png", "3.png", ".hidden/4.png"):
        write(name)
    assert Folder(str(tmp_path)).splits().note == "test is val; not used: extra/, masks/, 1 image"


def test_a_train_folder_alone_is_split(write: Write, tmp_path: Path) -> None:
    for i in range(4):
        write(f"train/{i}.png")
    splits = Folder(str(tmp_path)).splits()
    assert len(splits.train) + len(splits.val) == 4
    assert not set(splits.train) & set(splits.val)


def test_a_random_subset_depends_on_the_seed_and_keeps_its_order() -> None:
    files = ImageFiles.from_paths(Path(f"{i:02}.png") for i in range(30))
    chosen = random_subset(files, 10, seed=0)
    assert len(chosen) == 10
    assert list(chosen) == sorted(chosen)
    assert chosen == random_subset(files, 10, 0) != random_subset(files, 10, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert random_subset(files, 30, 0) == random_subset(files, None, 0) == files


def test_overfit_images_are_train_val_and_test(write: Write, tmp_path: Path) -> None:
    for i in range(20):
        write(f"{i:02}.png", i, size=(2, 2))
    whole = Folder(str(tmp_path)).images()
    splits = Folder(str(tmp_path), overfit_images=3).images()
    assert stems(splits) == [stems(whole)[0][:3]] * 3
    assert "the first 3 training images are train, val and test" in splits.note
    with pytest.raises(UserError, match=r"overfit_images is 21, but there are [0-9]+ training images; give fewer"):
        Folder(str(tmp_path), overfit_images=21).images()
