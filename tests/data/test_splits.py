import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from split_names import stems

from lit_inpaint.data import Folder
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import random_subset

Write = Callable[..., Path]


def test_a_folder_is_split_90_5_5_by_the_seed(write: Write, tmp_path: Path) -> None:
    for i in range(40):
        write(f"{i:02}.png", i, size=(2, 2))
    splits = Folder(str(tmp_path)).splits()
    train, val, test = stems(splits)
    assert [len(train), len(val), len(test)] == [36, 2, 2]
    assert sorted(train + val + test) == [f"{i:02}" for i in range(40)]
    assert Folder(str(tmp_path)).splits() == splits != Folder(str(tmp_path), seed=1).splits()


@pytest.mark.parametrize("number", [2, 3, 19])
def test_of_few_images_one_is_for_validation_and_test(write: Write, tmp_path: Path, number: int) -> None:
    for i in range(number):
        write(f"{i}.png", size=(2, 2))
    splits = Folder(str(tmp_path)).splits()
    assert [len(splits.train), len(splits.val)] == [number - 1, 1]
    assert splits.test == splits.val
    assert not set(splits.train) & set(splits.val)


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


def test_a_train_folder_alone_is_split(write: Write, tmp_path: Path) -> None:
    for i in range(4):
        write(f"train/{i}.png")
    splits = Folder(str(tmp_path)).splits()
    assert [len(splits.train), len(splits.val)] == [3, 1]


def test_a_random_subset_depends_on_the_seed_and_keeps_its_order() -> None:
    files = ImageFiles.from_paths(Path(f"{i:02}.png") for i in range(30))
    chosen = random_subset(files, 10, seed=0)
    assert len(chosen) == 10
    assert list(chosen) == sorted(chosen)
    assert chosen == random_subset(files, 10, 0) != random_subset(files, 10, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert random_subset(files, 30, 0) == random_subset(files, None, 0) == files
