import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from split_names import stems

from lit_inpaint.data import CelebA
from lit_inpaint.data.datasets.celeba import split_of_numbers
from lit_inpaint.errors import UserError

Write = Callable[..., Path]
Pack = Callable[..., Path]


@pytest.fixture
def unpacked(write: Write, tmp_path: Path) -> Path:
    for number in range(1, 7):
        write(f"celeba/img_align_celeba/{number:06}.jpg", number)
    lines = [f"{number:06}.jpg {part}" for number, part in enumerate([0, 0, 0, 1, 2, 2], start=1)]
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "celeba"


@pytest.mark.parametrize("layout", ["beside", "inside", "itself", "Img"])
def test_a_zip_equals_the_unpacked_folder(layout: str, unpacked: Path, pack: Pack, tmp_path: Path) -> None:
    expected = CelebA(str(unpacked)).splits()
    partition = (unpacked / "list_eval_partition.txt").read_bytes()
    if layout != "inside":
        (unpacked / "list_eval_partition.txt").unlink()
    name = {"inside": "archive", "Img": "Img/img_align_celeba"}.get(layout, "img_align_celeba")
    archive = pack(f"zip/{name}.zip", "celeba")
    if layout != "inside":
        (tmp_path / "zip" / ("Eval" if layout == "Img" else "")).mkdir(exist_ok=True)
        (tmp_path / "zip" / ("Eval" if layout == "Img" else "") / "list_eval_partition.txt").write_bytes(partition)
    data = CelebA(str(archive if layout == "itself" else tmp_path / "zip"))
    found = data.splits()
    assert found.note == expected.note
    for part in ("train", "val", "test"):
        ours, theirs = getattr(found, part), getattr(expected, part)
        assert ours.digest() == theirs.digest()
        assert torch.equal(ours.read(0), theirs.read(0))
    assert found.val.location(0) == f"{archive}/img_align_celeba/000004.jpg"


def test_a_zip_trains_through_the_data_module(unpacked: Path, pack: Pack, tmp_path: Path) -> None:
    pack("img_align_celeba.zip", "celeba")
    batches = []
    for root, workers in ((unpacked, 0), (tmp_path / "img_align_celeba.zip", 2)):
        data = CelebA(str(root), size=16, batch_size=3, workers=workers)
        data.setup("fit")
        batches.append(next(iter(data.train_dataloader())))
    assert batches[0]["name"] == batches[1]["name"]
    assert torch.equal(batches[0]["image"], batches[1]["image"])


def test_without_the_partition_file_the_numbers_determine_the_split(unpacked: Path) -> None:
    (unpacked / "list_eval_partition.txt").unlink()
    splits = CelebA(str(unpacked)).splits()
    assert [len(splits.train), len(splits.val), len(splits.test)] == [6, 0, 0]
    assert "by numbers, as list_eval_partition.txt is missing" in splits.note
    parts = split_of_numbers(np.arange(202_601))
    assert np.bincount(parts + 1).tolist() == [2, 162_770, 19_867, 19_962]  # 0 and 202,600 are none of them
    assert parts[[1, 162_770, 162_771, 182_637, 182_638, 202_599]].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_count_that_differs_from_the_official_one_causes_a_warning(unpacked: Path) -> None:
    with pytest.warns(UserWarning, match=r"^6 of the 202,599 official images: some are missing, or others are among them$"):
        CelebA(str(unpacked)).splits()


def test_any_other_archive_is_split_as_a_folder(write: Write, pack: Pack, tmp_path: Path) -> None:
    for name in ("train/1.png", "val/2.png", "3.png"):
        write(f"images/{name}")
    splits = CelebA(str(pack("any.zip"))).splits()
    assert [[*part.names()] for part in (splits.train, splits.val)] == [["train/1.png"], ["val/2.png"]]
    assert splits.note.startswith("no img_align_celeba, so not the official split: test is val")
    (tmp_path / "images" / "train" / "1.png").rename(tmp_path / "images" / "1.png")
    (tmp_path / "images" / "val" / "2.png").rename(tmp_path / "images" / "2.png")
    assert len(CelebA(str(pack("any.zip"))).splits().train) == 2


def test_a_file_that_is_not_an_archive_is_refused_as_root(tmp_path: Path) -> None:
    (tmp_path / "faces.rar").write_bytes(b"Rar!")
    with pytest.raises(UserError, match=re.escape(f"CelebA: no folder at {tmp_path / 'faces.rar'}; put img_align_celeba/")):
        CelebA(str(tmp_path / "faces.rar")).splits()


@pytest.mark.parametrize("layout", [("", ""), ("Img/", "Eval/"), ("", "Anno/")])
def test_celeba_reads_the_official_split(write: Write, tmp_path: Path, layout: tuple[str, str]) -> None:
    images, partition = layout
    for i in range(1, 7):
        write(f"{images}img_align_celeba/{i:06}.jpg", i)
    lines = [f"{i:06}.jpg {part}" for i, part in enumerate([0, 0, 0, 1, 2, 2, 0], start=1)]  # one more than there are files
    (tmp_path / partition).mkdir(exist_ok=True)
    (tmp_path / partition / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    data = CelebA(str(tmp_path))
    assert stems(data.splits()) == [["000001", "000002", "000003"], ["000004"], ["000005", "000006"]]
    assert "official split, 6 of the 202,599 official images" in data.describe()


def test_celeba_reads_the_partition_with_commas(write: Write, tmp_path: Path) -> None:
    for i in (1, 2, 3):
        write(f"img_align_celeba/img_align_celeba/{i:06}.jpg", i)
    table = "image_id,partition\n000001.jpg,0\r\n000002.jpg,1\r\n000003.jpg,2\r\n"
    (tmp_path / "list_eval_partition.csv").write_text(table, newline="")
    assert stems(CelebA(str(tmp_path)).splits()) == [["000001"], ["000002"], ["000003"]]
