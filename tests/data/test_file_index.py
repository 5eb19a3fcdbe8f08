import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from lit_inpaint.data.file_index import FileIndex, join_names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_saved_arrays_are_loaded_by_their_key(folder: Path) -> None:
    FileIndex("one").save(0.0, names=join_names(["a", "é"]), numbers=np.arange(3))
    found = FileIndex("one").load()
    assert found is not None
    assert found["names"].tobytes() == "a\0é".encode()
    assert found["numbers"].tolist() == [0, 1, 2]
    assert FileIndex("two").load() is None
    assert [path.suffix for path in folder.rglob("*") if path.is_file()] == [".npz"]


def test_arrays_of_files_that_just_changed_are_not_saved(folder: Path) -> None:
    FileIndex("one").save(time.time(), numbers=np.arange(3))
    assert FileIndex("one").load() is None


def test_a_damaged_file_or_an_unwritable_folder_raises_nothing(folder: Path) -> None:
    index = FileIndex("one")
    index.save(0.0, numbers=np.arange(3))
    index.path.write_bytes(index.path.read_bytes()[:50])
    assert index.load() is None
    folder.rename(folder.with_name("gone"))
    folder.write_text("a file")
    index.save(0.0, numbers=np.arange(3))
    assert index.load() is None


def _load_or_build(folder: str, save: bool, together: Barrier, calls: "multiprocessing.Queue[int]") -> None:
    def build() -> list[int]:
        calls.put(1)
        time.sleep(1.5)
        if save:
            FileIndex(folder).save(0.0, numbers=np.arange(3))
        return [0, 1, 2]

    together.wait()
    assert FileIndex(folder).load_or_build(lambda content: list(content["numbers"].tolist()), build) == [0, 1, 2]


@pytest.mark.parametrize(("save", "builds"), [(True, 1), (False, 4)])
def test_of_several_processes_one_builds_and_the_others_wait(folder: Path, save: bool, builds: int) -> None:
    calls: multiprocessing.Queue[int] = multiprocessing.Queue()
    together = multiprocessing.Barrier(4)
    processes = [multiprocessing.Process(target=_load_or_build, args=(str(folder), save, together, calls)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sum(calls.get() for _ in range(builds)) == builds
    assert calls.empty()


def test_after_a_failed_build_the_next_process_builds(folder: Path) -> None:
    def fail() -> list[int]:
        raise OSError("the disk is gone")

    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            FileIndex("one").load_or_build(lambda content: [1], fail)
    assert FileIndex("one").load_or_build(lambda content: [1], lambda: [2]) == [2]
    assert not list(Path(tempfile.gettempdir()).glob(f"lit_inpaint-*{FileIndex('one').path.stem}*"))
