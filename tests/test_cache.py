import time
from pathlib import Path

import numpy as np
import pytest

from lit_inpaint.cache import Kept, cache_folder, joined


def test_the_cache_is_in_the_home_folder_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIT_INPAINT_CACHE", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "lit_inpaint"
    monkeypatch.setenv("LIT_INPAINT_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_kept_is_found_under_its_name_alone(folder: Path) -> None:
    Kept("one").write(0.0, names=joined(["a", "é"]), numbers=np.arange(3))
    found = Kept("one").read()
    assert found is not None
    assert found["names"].tobytes() == "a\0é".encode()
    assert found["numbers"].tolist() == [0, 1, 2]
    assert Kept("two").read() is None
    assert [path.suffix for path in folder.rglob("*") if path.is_file()] == [".npz"]


def test_what_has_just_changed_is_not_kept(folder: Path) -> None:
    Kept("one").write(time.time(), numbers=np.arange(3))
    assert Kept("one").read() is None


def test_neither_a_broken_file_nor_a_folder_that_cannot_be_written_stops_anything(folder: Path) -> None:
    kept = Kept("one")
    kept.write(0.0, numbers=np.arange(3))
    kept.path.write_bytes(kept.path.read_bytes()[:50])
    assert kept.read() is None
    folder.rename(folder.with_name("gone"))
    folder.write_text("a file")
    kept.write(0.0, numbers=np.arange(3))
    assert kept.read() is None
