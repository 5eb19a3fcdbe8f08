import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from lit_inpaint.data import unreadable_images
from lit_inpaint.data.archives import list_archive
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.unreadable_images import ImageStore, OnBadFile
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import read_image

Write = Callable[..., Path]


def _store(files: Sequence[Path], on_bad_file: OnBadFile, cache: bool) -> ImageStore:
    return ImageStore(ImageFiles.from_paths(files), on_bad_file, cache)


def _read(store: ImageStore, index: int) -> tuple[Tensor, str]:
    """The image at `index`, or its replacement, and the name of that one."""
    image, index_read = store.read_or_next(index)
    return image, store.source.name(index_read)


def _broken(write: Write, kind: str) -> Path:
    path = write(f"{kind}.jpg")
    path.write_bytes({"empty": b"", "text": b"this is no image"}[kind])
    return path


def test_verified_files_that_are_broken_are_named_and_left_out(write: Write) -> None:
    files = [write("1.png", 1), _broken(write, "empty"), _broken(write, "text"), write("2.png", 2, size=(1, 1))]
    with pytest.warns(UserWarning, match=r"2 of 4 .*empty\.jpg.*text\.jpg.*left out"):
        store = _store(files, "skip", cache=False)
    assert [_read(store, index)[1] for index in range(len(store))] == ["1", "2"]
    with pytest.raises(UserError, match=r"2 of 4 .*empty\.jpg"):
        _store(files, "stop", cache=False)


def test_many_broken_files_are_counted(write: Write) -> None:
    good, bad = write("0.png"), _broken(write, "empty")
    with pytest.warns(UserWarning, match=r"25 of 26 .*and 15 more\. They") as caught:
        _store([good] + [bad] * 25, "skip", cache=False)
    assert str(caught[0].message).count("cannot read") == 10


def test_files_of_several_frames_are_named_and_their_first_frame_is_used(write: Write, tmp_path: Path) -> None:
    gray, white = Image.new("RGB", (8, 8), "gray"), Image.new("RGB", (8, 8), "white")
    files = [write("1.png", 1), tmp_path / "2.gif", write("3.png", 1), tmp_path / "4.tif", tmp_path / "5.png"]
    for path in (files[1], files[3], files[4]):
        gray.save(path, save_all=True, append_images=[white])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in files:
            archive.write(path, path.name)
    names = r"\S*/2\.gif, \S*/4\.tif, \S*/5\.png"
    for source in (ImageFiles.from_paths(files), list_archive(tmp_path / "all.zip")):
        with pytest.warns(UserWarning, match=rf"^{names}: files of several frames or pages, of which the first is used$"):
            store = ImageStore(source, "skip", cache=False)
        assert len(store) == len(files)
        assert (store.read(1) < 200).all()


def test_a_set_without_readable_images_ends_the_run_even_under_skip(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = _broken(write, "empty")
    with pytest.raises(UserError, match=r"1 of 1 image files cannot be used"):
        _store([bad], "skip", cache=False)
    monkeypatch.setattr(unreadable_images, "MAX_VERIFIED_FILES", 0)
    with pytest.warns(UserWarning, match="takes its place"), pytest.raises(UserError, match="none of the 2"):
        _store([bad, bad], "skip", cache=False).read_or_next(0)


def test_in_a_large_set_the_next_readable_image_replaces_an_unreadable_one(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable_images, "MAX_VERIFIED_FILES", 3)
    files = [write("1.png", 1), write("2.png", 2), _broken(write, "text"), _broken(write, "empty")]
    store = _store(files, "skip", cache=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        replacements = [_read(store, 2) for _ in range(3)]
    assert [name for _, name in replacements] == ["1"] * 3
    assert torch.equal(replacements[0][0], read_image(files[0]))
    assert len(caught) == 2  # one line for each file, once
    with pytest.raises(UserError, match=r"text\.jpg"):
        _store(files, "stop", cache=False).read_or_next(2)


def test_images_are_cached_up_to_the_memory_limit(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write(f"{i}.png", i) for i in range(3)]
    monkeypatch.setattr(unreadable_images, "CACHE_BYTES", 2 * 3 * 20 * 24)
    store = _store(files, "skip", cache=True)
    before = [store.read(i) for i in range(3)]
    for i in range(3):
        write(f"{i}.png", 9)
    assert [torch.equal(store.read(i), before[i]) for i in range(3)] == [True, True, False]


def test_names_are_unique_among_class_folders(write: Write) -> None:
    store = _store([write("x/abbey/1.jpg"), write("x/beach/1.jpg")], "skip", cache=False)
    assert [_read(store, 0)[1], _read(store, 1)[1]] == ["abbey/1", "beach/1"]
    assert _read(_store([write("x/abbey/1.jpg")], "skip", cache=False), 0)[1] == "1"
