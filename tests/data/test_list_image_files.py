import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_inpaint.data import list_image_files
from lit_inpaint.data.list_image_files import list_images

Write = Callable[..., Path]


def test_images_are_found_at_any_depth_in_any_case_and_sorted(write: Write, tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.jpeg", "c.WebP", "d.bmp", "e.TIFF", ".hidden.png", "__MACOSX/f.png", ".cache/g.png"):
        write(name)
    (tmp_path / "notes.txt").write_text("no image")
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert found == ["a.jpeg", "b/1.png", "b/2.JPG", "c.WebP", "d.bmp", "e.TIFF"]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images, changed long ago, whose list is kept; returns the cache."""
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(list_image_files, "MIN_INDEXED_FILES", 3)
    for name in ("photos/é/1.jpg", "photos/é/2.jpg", "photos/b/3.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for folder in (tmp_path / "photos", *(tmp_path / "photos").iterdir()):
        os.utime(folder, (0, 0))
    return tmp_path / "cache" / "lists"


def test_a_large_list_is_kept_until_a_folder_changes(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    first = list_images(photos)
    assert len(first) == 3
    assert len(list(kept.iterdir())) == 1
    with monkeypatch.context() as patched:
        patched.setattr(list_image_files.os, "walk", lambda *_, **__: pytest.fail("looked at the folder again"))
        assert list_images(photos) == first
        assert list_images(photos).digest() == first.digest()
    (photos / "b" / "4.jpg").touch()
    assert len(list_images(photos)) == 4
    (photos / "b" / "3.jpg").rename(photos / "b" / "5.jpg")
    assert [path.name for path in list_images(photos)] == ["4.jpg", "5.jpg", "1.jpg", "2.jpg"]


def test_a_folder_that_changed_this_moment_is_not_kept(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "new.jpg").touch()
    os.utime(tmp_path / "photos", (time.time(), time.time()))
    list_images(tmp_path / "photos")
    assert not kept.exists()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_kept_list_that_is_not_whole_is_made_anew(kept: Path, tmp_path: Path, content: bytes | None) -> None:
    first = list_images(tmp_path / "photos")
    (file,) = kept.iterdir()
    file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    assert list_images(tmp_path / "photos") == first


def test_a_cache_that_cannot_be_written_is_done_without(kept: Path, tmp_path: Path) -> None:
    kept.parent.write_text("a file where the folder should be")
    assert len(list_images(tmp_path / "photos")) == 3


def test_a_million_paths_take_less_than_300_mb() -> None:
    script = """
import resource
from pathlib import Path
import numpy as np
from lit_inpaint.data.splits import random_split
from lit_inpaint.data.image_source import ImageFiles
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
names = b"\\0".join(b"%s/%08d.jpg" % (b"scenes" * 3, number) for number in range(1_000_000))
lists = random_split(ImageFiles.from_joined_names(Path("/data/places"), names), seed=0)
del names
assert len(lists.train) == 900_000 and lists.train.name(7)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300
