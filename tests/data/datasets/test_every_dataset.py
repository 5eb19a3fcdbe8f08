import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_inpaint.data import ADE20K, FFHQ, CelebA, CelebAHQ, DemoPhotos, Folder, InpaintingData, ListFile, Oxford, Places2
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import Splits, random_subset
from lit_inpaint.data.transforms import RandomResizedCrop, ResizedCenterCrop
from lit_inpaint.errors import UserError
from lit_inpaint.masks import Center

Write = Callable[..., Path]


def _names(splits: Splits) -> list[list[str]]:
    return [[path.stem for path in files] for files in (splits.train, splits.val, splits.test)]


def test_a_folder_is_split_90_5_5_by_the_seed(write: Write, tmp_path: Path) -> None:
    for i in range(40):
        write(f"{i:02}.png", i, size=(2, 2))
    splits = Folder(str(tmp_path)).splits()
    train, val, test = _names(splits)
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
    assert _names(Folder(str(tmp_path)).splits()) == expected


def test_a_train_folder_alone_is_split(write: Write, tmp_path: Path) -> None:
    for i in range(4):
        write(f"train/{i}.png")
    splits = Folder(str(tmp_path)).splits()
    assert [len(splits.train), len(splits.val)] == [3, 1]


@pytest.mark.parametrize("kind", [Folder, ADE20K, CelebA, CelebAHQ, DemoPhotos, FFHQ, Oxford, Places2])
def test_the_error_for_a_missing_or_empty_folder_has_the_expected_layout(kind: type[InpaintingData], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no images").mkdir()
    (tmp_path / "no images" / "a.txt").write_text("text")
    for name, fault in (("missing", "no folder"), ("empty", "no files"), ("no images", "no training images")):
        data = kind(root=str(tmp_path / name))
        with pytest.raises(UserError, match=re.escape(f"{fault} at {tmp_path / name}; put ")) as caught:
            data.setup("fit")
        assert "\n" not in str(caught.value)


def test_a_missing_root_is_refused() -> None:
    with pytest.raises(UserError, match=r"Folder needs --data\.root"):
        Folder().prepare_data()


@pytest.mark.parametrize("layout", [("", ""), ("Img/", "Eval/"), ("", "Anno/")])
def test_celeba_reads_the_official_split(write: Write, tmp_path: Path, layout: tuple[str, str]) -> None:
    pictures, partition = layout
    for i in range(1, 7):
        write(f"{pictures}img_align_celeba/{i:06}.jpg", i)
    lines = [f"{i:06}.jpg {part}" for i, part in enumerate([0, 0, 0, 1, 2, 2, 0], start=1)]  # one more than there are files
    (tmp_path / partition).mkdir(exist_ok=True)
    (tmp_path / partition / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    data = CelebA(str(tmp_path))
    assert _names(data.splits()) == [["000001", "000002", "000003"], ["000004"], ["000005", "000006"]]
    assert "official split, 6 of the 202,599 official images" in data.describe()


def test_celeba_reads_the_partition_with_commas(write: Write, tmp_path: Path) -> None:
    for i in (1, 2, 3):
        write(f"img_align_celeba/img_align_celeba/{i:06}.jpg", i)
    table = "image_id,partition\n000001.jpg,0\r\n000002.jpg,1\r\n000003.jpg,2\r\n"
    (tmp_path / "list_eval_partition.csv").write_text(table, newline="")
    assert _names(CelebA(str(tmp_path)).splits()) == [["000001"], ["000002"], ["000003"]]


def test_places2_reads_the_official_folders(write: Write, tmp_path: Path) -> None:
    write("data_256_standard/a/abbey/00000001.jpg")
    write("data_256_standard/b/beach/00000001.jpg")
    write("val_256/Places365_val_00000001.jpg")
    data = Places2(str(tmp_path))
    assert [path.parent.name for path in data.splits().train] == ["abbey", "beach"]
    assert data.splits().val == data.splits().test
    assert "test is val" in data.describe()
    write("test_256/Places365_test_00000001.jpg")
    assert _names(Places2(str(tmp_path)).splits())[2] == ["Places365_test_00000001"]


@pytest.mark.parametrize("kind", [ADE20K, CelebA, CelebAHQ, FFHQ, Oxford, Places2])
def test_other_folders_are_split_as_by_folder_with_a_note(kind: type[InpaintingData], write: Write, tmp_path: Path) -> None:
    for name in ("train/1.png", "val/2.png"):
        write(name)
    data = kind(root=str(tmp_path))
    assert _names(data.splits()) == [["1"], ["2"], ["2"]]
    assert re.search(
        r"\(no .*(ADEChallenge|img_align_celeba|CelebA-HQ-img|images1024|oxbuild|data_256_standard).*test is val\)",
        data.describe(),
    )
    assert "\n" not in data.describe()


def test_demo_photos_exist_and_none_is_in_two_splits() -> None:
    train, val, test = _names(DemoPhotos().splits())
    assert len(train) == 7
    assert val == test == ["chelsea", "coffee"]
    assert not set(train) & set(val)
    assert {"motorcycle_left", "motorcycle_right"} <= set(train)


def test_demo_photos_with_a_root_is_a_folder(write: Write, tmp_path: Path) -> None:
    write("train/1.png")
    write("val/2.png")
    data = DemoPhotos(str(tmp_path))
    assert _names(data.splits()) == [["1"], ["2"], ["2"]]
    assert (data.repeat, data.val_crops, data.cache) == (1, 1, False)


def test_a_random_subset_depends_on_the_seed_and_keeps_its_order() -> None:
    files = ImageFiles.from_paths(Path(f"{i:02}.png") for i in range(30))
    chosen = random_subset(files, 10, seed=0)
    assert len(chosen) == 10
    assert list(chosen) == sorted(chosen)
    assert chosen == random_subset(files, 10, 0) != random_subset(files, 10, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert random_subset(files, 30, 0) == random_subset(files, None, 0) == files


@pytest.mark.parametrize("kind", [ADE20K, CelebAHQ, ListFile])
def test_a_data_set_with_its_own_arguments_accepts_all_others(kind: type[InpaintingData]) -> None:
    shared, own = (inspect.signature(each).parameters for each in (InpaintingData, kind))
    assert {name: own[name] for name in shared if name in own} == dict(shared)
    values = {
        "root": "r",
        "size": 8,
        "batch_size": 9,
        "masks": [Center()],
        "val_masks": [Center()],
        "train_transform": ResizedCenterCrop(),
    }
    values |= {
        "val_transform": RandomResizedCrop(),
        "val_images": 1,
        "test_images": 2,
        "val_crops": 3,
        "repeat": 4,
        "workers": 5,
    }
    values |= {"on_bad_file": "stop", "cache": True, "seed": 6}
    assert values.keys() == shared.keys()
    data, same = kind(**values), Folder(**values)
    for name in values:
        assert getattr(data, name) == getattr(same, name)
