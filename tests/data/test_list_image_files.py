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
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images, changed long ago, whose list is cached; returns the cache folder."""
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(list_image_files, "MIN_INDEXED_FILES", 3)
    for name in ("images/é/1.jpg", "images/é/2.jpg", "images/b/3.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for folder in (tmp_path / "images", *(tmp_path / "images").iterdir()):
        os.utime(folder, (0, 0))
    return tmp_path / "cache" / "file_index"


def test_a_large_list_is_cached_until_a_folder_changes(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "images"
    first = list_images(images)
    assert len(first) == 3
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patched:
        patched.setattr(list_image_files, "find_images", lambda _: pytest.fail("the folder was listed again"))
        assert list_images(images) == first
        assert list_images(images).digest() == first.digest()
    (images / "b" / "4.jpg").touch()
    assert len(list_images(images)) == 4
    (images / "b" / "3.jpg").rename(images / "b" / "5.jpg")
    assert [path.name for path in list_images(images)] == ["4.jpg", "5.jpg", "1.jpg", "2.jpg"]


def test_the_list_of_a_folder_that_just_changed_is_not_cached(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "images" / "new.jpg").touch()
    os.utime(tmp_path / "images", (time.time(), time.time()))
    list_images(tmp_path / "images")
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_damaged_cached_list_is_replaced(cache: Path, tmp_path: Path, content: bytes | None) -> None:
    first = list_images(tmp_path / "images")
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    assert list_images(tmp_path / "images") == first


def test_a_cache_that_cannot_be_written_is_ignored(cache: Path, tmp_path: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    assert len(list_images(tmp_path / "images")) == 3


def test_a_million_paths_take_less_than_300_mb() -> None:
    script = """
import resource
from pathlib import Path
import numpy as np
from lit_inpaint.data.splits import random_split
from lit_inpaint.data.image_source import ImageFiles
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
names = b"\\0".join(b"%s/%08d.jpg" % (b"scenes" * 3, number) for number in range(1_000_000))
splits = random_split(ImageFiles.from_joined_names(Path("/data/images"), names), seed=0)
del names
assert len(splits.train) == 900_000 and splits.train.name(7)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300
