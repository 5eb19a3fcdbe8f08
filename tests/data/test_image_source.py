import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lit_inpaint.data.image_source import ImageFiles

Write = Callable[..., Path]

PATHS = [Path(path) for path in ("/data/a/1.jpg", "/data/a/é.x.png", "/data/b/c/22.webp", "/data/b/3.jpg")]


def test_paths_come_back_in_their_order() -> None:
    files = ImageFiles.from_paths(PATHS)
    assert list(files) == PATHS
    assert [files[i] for i in (0, -1, 2)] == [PATHS[0], PATHS[3], PATHS[2]]
    assert files.root == Path("/data")
    assert ImageFiles.from_joined_names(files.root, os.fsencode("\0".join(files.names()))) == files
    with pytest.raises(IndexError):
        files[4]


def test_a_name_that_is_not_utf_8_is_kept() -> None:
    odd = os.fsdecode(b"/data/\xff\xfe.jpg")
    assert os.fsencode(ImageFiles.from_paths([Path(odd), PATHS[0]])[0]) == b"/data/\xff\xfe.jpg"


@pytest.mark.parametrize("indices", [[], [2], [3, 0, 2], [0, 1, 2, 3]])
def test_take_selects_by_index(indices: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_inpaint.data.image_source._CHUNK", 2)
    assert list(ImageFiles.from_paths(PATHS).take(np.array(indices, np.int64))) == [PATHS[index] for index in indices]


def test_names_start_below_the_common_folder() -> None:
    files = ImageFiles.from_paths(PATHS)
    assert [files.name(i) for i in range(4)] == ["a/1", "a/é.x", "b/c/22", "b/3"]
    assert files.take(np.array([2, 3])).name(1) == "3"
    assert ImageFiles.from_paths(PATHS[2:3]).name(0) == "22"


def test_the_digest_depends_on_names_not_on_the_folder() -> None:
    files = ImageFiles.from_paths(PATHS)
    moved = ImageFiles.from_paths([Path("/elsewhere/deep") / path.relative_to("/data") for path in PATHS])
    assert files != moved
    assert files.digest() == moved.digest() == pickle.loads(pickle.dumps(files)).digest()
    assert files.digest() != files.take(np.array([1, 0, 2, 3])).digest()
    assert (
        ImageFiles.from_paths([Path("/x/ab"), Path("/x/c")]).digest()
        != ImageFiles.from_paths([Path("/x/a"), Path("/x/bc")]).digest()
    )


def test_an_empty_source() -> None:
    files = ImageFiles.from_paths([])
    assert len(files) == 0
    assert files == ImageFiles.from_names(Path("/data"), [])
    assert files.digest()


def test_read_and_location(write: Write) -> None:
    path = write("a/1.png", size=(5, 7))
    files = ImageFiles.from_paths([path])
    assert files.read(0).shape == (3, 7, 5)
    assert files.location(0) == str(path)
