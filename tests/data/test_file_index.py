import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from lit_inpaint.data.file_index import FileIndex, cache_dir, joined


def test_the_cache_is_in_the_home_folder_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIT_INPAINT_CACHE", raising=False)
    assert cache_dir() == Path.home() / ".cache" / "lit_inpaint"
    monkeypatch.setenv("LIT_INPAINT_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_kept_is_found_under_its_name_alone(folder: Path) -> None:
    FileIndex("one").write(0.0, names=joined(["a", "é"]), numbers=np.arange(3))
    found = FileIndex("one").read()
    assert found is not None
    assert found["names"].tobytes() == "a\0é".encode()
    assert found["numbers"].tolist() == [0, 1, 2]
    assert FileIndex("two").read() is None
    assert [path.suffix for path in folder.rglob("*") if path.is_file()] == [".npz"]


def test_what_has_just_changed_is_not_kept(folder: Path) -> None:
    FileIndex("one").write(time.time(), numbers=np.arange(3))
    assert FileIndex("one").read() is None


def test_neither_a_broken_file_nor_a_folder_that_cannot_be_written_stops_anything(folder: Path) -> None:
    kept = FileIndex("one")
    kept.write(0.0, numbers=np.arange(3))
    kept.path.write_bytes(kept.path.read_bytes()[:50])
    assert kept.read() is None
    folder.rename(folder.with_name("gone"))
    folder.write_text("a file")
    kept.write(0.0, numbers=np.arange(3))
    assert kept.read() is None


def _search(folder: str, kept: bool, together: Barrier, looks: "multiprocessing.Queue[int]") -> None:
    def look() -> list[int]:
        looks.put(1)
        time.sleep(1.5)
        if kept:
            FileIndex(folder).write(0.0, numbers=np.arange(3))
        return [0, 1, 2]

    together.wait()
    assert FileIndex(folder).find(lambda content: list(content["numbers"].tolist()), look) == [0, 1, 2]


@pytest.mark.parametrize(("kept", "searches"), [(True, 1), (False, 4)])
def test_of_the_processes_of_a_machine_one_looks_and_the_others_wait(folder: Path, kept: bool, searches: int) -> None:
    looks: multiprocessing.Queue[int] = multiprocessing.Queue()
    together = multiprocessing.Barrier(4)
    processes = [multiprocessing.Process(target=_search, args=(str(folder), kept, together, looks)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sum(looks.get() for _ in range(searches)) == searches
    assert looks.empty()


def test_a_search_that_fails_lets_the_next_one_look(folder: Path) -> None:
    def fail() -> list[int]:
        raise OSError("the disk is gone")

    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            FileIndex("one").find(lambda content: [1], fail)
    assert FileIndex("one").find(lambda content: [1], lambda: [2]) == [2]
    assert not list(Path(tempfile.gettempdir()).glob(f"lit_inpaint-*{FileIndex('one').path.stem}*"))
