import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from lit_inpaint.data import unreadable_images as shelves
from lit_inpaint.data.image_decode import read_image
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.unreadable_images import ImageStore, OnBadFile
from lit_inpaint.errors import UserError

Write = Callable[..., Path]


def _shelf(files: Sequence[Path], on_bad_file: OnBadFile, cache: bool) -> ImageStore:
    return ImageStore(ImageFiles.from_paths(files), on_bad_file, cache)


def _broken(write: Write, kind: str) -> Path:
    path = write(f"{kind}.jpg")
    path.write_bytes({"empty": b"", "text": b"this is no image"}[kind])
    return path


def test_verified_files_that_are_broken_are_named_and_left_out(write: Write) -> None:
    files = [write("1.png", 1), _broken(write, "empty"), _broken(write, "text"), write("2.png", 2, size=(1, 1))]
    with pytest.warns(UserWarning, match=r"2 of 4 .*empty\.jpg.*text\.jpg.*left out"):
        shelf = _shelf(files, "skip", cache=False)
    assert [shelf[i][1] for i in range(len(shelf))] == ["1", "2"]
    with pytest.raises(UserError, match=r"2 of 4 .*empty\.jpg"):
        _shelf(files, "stop", cache=False)


def test_many_broken_files_are_counted(write: Write) -> None:
    good, bad = write("0.png"), _broken(write, "empty")
    with pytest.warns(UserWarning, match=r"25 of 26 .*and 15 more\. They") as caught:
        _shelf([good] + [bad] * 25, "skip", cache=False)
    assert str(caught[0].message).count("cannot read") == 10


def test_nothing_readable_stops_even_when_skipping(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = _broken(write, "empty")
    with pytest.raises(UserError, match=r"1 of 1 image files cannot be used"):
        _shelf([bad], "skip", cache=False)
    monkeypatch.setattr(shelves, "MAX_VERIFIED_FILES", 0)
    with pytest.warns(UserWarning, match="takes its place"), pytest.raises(UserError, match="none of the 2"):
        _shelf([bad, bad], "skip", cache=False)[0]


def test_in_a_large_set_the_next_readable_image_takes_the_place(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "MAX_VERIFIED_FILES", 3)
    files = [write("1.png", 1), write("2.png", 2), _broken(write, "text"), _broken(write, "empty")]
    shelf = _shelf(files, "skip", cache=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        taken = [shelf[2] for _ in range(3)]
    assert [name for _, name in taken] == ["1"] * 3
    assert torch.equal(taken[0][0], read_image(files[0]))
    assert len(caught) == 2  # one line for each file, once
    with pytest.raises(UserError, match=r"text\.jpg"):
        _shelf(files, "stop", cache=False)[2]


def test_the_cache_serves_pictures_up_to_its_cap(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write(f"{i}.png", i) for i in range(3)]
    monkeypatch.setattr(shelves, "CACHE_BYTES", 2 * 3 * 20 * 24)
    shelf = _shelf(files, "skip", cache=True)
    before = [shelf[i][0] for i in range(3)]
    for i in range(3):
        write(f"{i}.png", 9)
    assert [torch.equal(shelf[i][0], before[i]) for i in range(3)] == [True, True, False]


def test_names_are_unique_among_class_folders(write: Write) -> None:
    shelf = _shelf([write("x/abbey/1.jpg"), write("x/beach/1.jpg")], "skip", cache=False)
    assert [shelf[0][1], shelf[1][1]] == ["abbey/1", "beach/1"]
    assert _shelf([write("x/abbey/1.jpg")], "skip", cache=False)[0][1] == "1"
