import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_inpaint.data import ListFile
from lit_inpaint.errors import UserError

Write = Callable[..., Path]


@pytest.fixture
def root(write: Write, tmp_path: Path) -> Path:
    for number in range(6):
        write(f"faces/{number % 2}/{number}.png", number)
    return tmp_path


def _list(path: Path, *lines: str, end: str = "\n") -> str:
    path.write_text("".join(line + end for line in lines), newline="")
    return str(path)


def test_lists_are_the_splits_and_keep_their_order(root: Path) -> None:
    train = _list(root / "train.flist", "faces/0/4.png", "faces/1/1.png", "", "faces/0/4.png", f"{root}/faces/0/0.png")
    val = _list(root / "faces" / "val.txt", "1/3.png", end="\r\n")
    data = ListFile(train=train, val=val)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits = data.splits()
    assert [path.stem for path in splits.train] == ["4", "1", "0"]
    assert [path.stem for path in splits.val] == [path.stem for path in splits.test] == ["3"]
    assert splits.note == "test is val; from train.flist, val.txt"
    assert [path.stem for path in ListFile(test=val).splits().test] == ["3"]
    data.setup("fit")
    assert len(next(iter(data.train_dataloader()))["name"]) == 8


def test_a_training_list_alone_is_split(root: Path) -> None:
    train = _list(root / "train.txt", *(f"faces/{number % 2}/{number}.png" for number in range(6)))
    splits = ListFile(train=train).splits()
    assert [len(splits.train), len(splits.val)] == [5, 1]


def test_with_a_root_paths_are_relative_to_it(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("lists") / "train.txt"
    splits = ListFile(
        str(root / "faces"), train=_list(elsewhere, "0/2.png", "1/5.png"), val=_list(root / "v", "1/3.png")
    ).splits()
    assert [path.stem for path in splits.train] == ["2", "5"]


def test_paths_of_another_machine_are_found_below_a_root(root: Path) -> None:
    lines = [f"/home/somebody/data/faces/{number % 2}/{number}.png" for number in range(6)]
    train = _list(root / "train.flist", *lines)
    expected = (
        r"names 6 of 6 files .*: .*/0\.png, .*/1\.png, .*/2\.png and 3 more; the paths are those of another machine: name"
    )
    with pytest.raises(UserError, match=expected):
        ListFile(train=train).prepare_data()
    for folder in (root, root / "faces"):
        splits = ListFile(str(folder), train=train, val=_list(root / "val.flist", lines[3])).splits()
        assert [path.stem for path in splits.train] == list("012345")


def test_class_numbers_after_the_paths_are_ignored(root: Path) -> None:
    """As in Places2's lists."""
    train = _list(root / "train.txt", "/0/2.png 17", "/1/5.png 3")
    assert [
        path.stem for path in ListFile(str(root / "faces"), train=train, val=_list(root / "v", "1/3.png 0")).splits().train
    ] == ["2", "5"]


def test_absolute_and_relative_paths_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    train = _list(root / "train.txt", f"{root}/faces/0/0.png", "1/1.png", "0/2.png")
    val = _list(root / "val.txt", f"{root}/faces/1/1.png")
    with pytest.warns(UserWarning, match="1 images are listed both"):
        splits = ListFile("faces", train=train, val=val).splits()
    assert [path.stem for path in splits.train] == ["0", "1", "2"]
    assert [splits.train.name(number) for number in range(3)] == ["0/0", "1/1", "0/2"]


def test_an_image_in_two_splits_causes_a_warning(root: Path) -> None:
    train, val = _list(root / "train.txt", "faces/0/2.png", "faces/1/1.png"), _list(root / "val.txt", "faces/0/2.png")
    with pytest.warns(UserWarning, match=r"1 images are listed both to train on and to evaluate on: .*faces/0/2\.png"):
        ListFile(train=train, val=val).splits()


def test_errors_are_one_line(root: Path) -> None:
    with pytest.raises(UserError, match=r"ListFile needs a text file of image paths: --data\.train FILE"):
        ListFile().prepare_data()
    with pytest.raises(UserError, match=r"no list of images at nowhere\.txt"):
        ListFile(train="nowhere.txt").prepare_data()
    with pytest.raises(UserError, match=r"empty\.txt is empty"):
        ListFile(train=_list(root / "empty.txt", "", " ")).prepare_data()
    train = _list(root / "train.txt", "faces/0/2.png", "faces/0/no.png")
    with pytest.raises(
        UserError, match=r"names 1 of 2 files that are not there: .*faces/0/no\.png; fix the list, or name the folder"
    ):
        ListFile(train=train).prepare_data()
    with pytest.raises(UserError, match=r"ListFile: no folder at .*gone; put the images that the lists name"):
        ListFile(str(root / "gone"), train=train).prepare_data()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_of_a_list(write: Write, tmp_path: Path, encoding: str) -> None:
    """As editors on Windows save them: with byte order marks and their line ends."""
    names = ["images/Müller.png", "images/1.png"]
    for number, name in enumerate(names):
        write(name, number)
    (tmp_path / "list.txt").write_bytes("\r\n".join(names).encode(encoding))
    listed = ListFile(test=str(tmp_path / "list.txt")).splits().test
    assert [path.name for path in listed] == ["Müller.png", "1.png"]


@pytest.mark.filterwarnings("ignore")  # with such a name, which pytest-xdist cannot send to the main process
def test_names_that_are_not_utf_8_are_found_by_their_bytes(write: Write, tmp_path: Path) -> None:
    write("images/x.png").rename(tmp_path / os.fsdecode(b"images/M\xfcller.png"))
    (tmp_path / "list.txt").write_bytes(b"images/M\xfcller.png\n")
    (path,) = ListFile(test=str(tmp_path / "list.txt")).splits().test
    assert os.fsencode(path.name) == b"M\xfcller.png"


def test_a_list_without_a_byte_order_mark_in_utf_16_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("1.png\n".encode("utf-16-le"))
    with pytest.raises(UserError, match=r"list\.txt is not a text file in UTF-8, as it has zero bytes; save it as UTF-8"):
        ListFile(test=str(tmp_path / "list.txt")).splits()


@pytest.mark.parametrize("start", ["", "G:/image_inpainting/", "g:\\image_inpainting\\"])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_paths_of_windows(write: Write, tmp_path: Path, start: str, separator: str) -> None:
    names = ["faces/a/1.png", "faces/b/2.png"]
    for name in names:
        write(name)
    train = _list(tmp_path / "train.flist", *(start + name.replace("/", separator) for name in names), end="\r\n")
    listed = ListFile(str(tmp_path), test=train).splits().test
    assert [path.relative_to(tmp_path).as_posix() for path in listed] == names


def test_a_line_that_is_no_name_of_a_file_is_reported(root: Path) -> None:
    with pytest.raises(UserError, match=r"names 1 of 1 files that are not there: .*xxx"):
        ListFile(train=_list(root / "train.txt", "x" * 5000)).splits()
    with pytest.raises(UserError, match=r"names 1 of 1 files that are not there: .*xxx"):
        ListFile(str(root), train=_list(root / "train.txt", "/" + "x" * 5000)).splits()
