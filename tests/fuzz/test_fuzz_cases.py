"""A small fuzz run in this process; README.md has the large ones."""

from collections import Counter
from pathlib import Path

import fuzz
import mutations
import pytest
import targets

CASES = 150
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[fuzz.Outcome]:
    found = []
    with fuzz.canary_module():
        for number in range(CASES):
            found.append(fuzz.run_case(list(targets.TARGETS), 0, number, tmp_path_factory.mktemp("case")))  # noqa: PERF401
    return found


def test_no_case_fails(outcomes: list[fuzz.Outcome]) -> None:
    failed = [f"case {number}: {one}" for number, one in enumerate(outcomes) if one.kind in fuzz.BAD]
    assert not failed, "\n".join(failed)


def test_cases_reach_every_target_and_are_both_refused_and_read(outcomes: list[fuzz.Outcome]) -> None:
    kinds = Counter((one.target, one.kind) for one in outcomes)
    assert {name for name, _ in kinds} == set(targets.TARGETS)
    for name in ("images", "masks", "archives", "checkpoints"):
        assert kinds[name, "ok"] > 0, name
        assert kinds[name, "error"] > 0, name


def test_a_case_is_the_same_each_time(tmp_path: Path) -> None:
    for number in range(10):
        files = []
        for name in ("a", "b"):
            folder = tmp_path / "case"
            folder.mkdir()
            fuzz.make_case(list(targets.TARGETS), 5, number, folder)
            files.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()})
            folder.rename(tmp_path / f"{number}{name}")
        assert files[0].keys() == files[1].keys()
        same = [name for name in files[0] if name.suffix not in (".mat", ".csv", ".json")]  # these hold times
        assert all(files[0][name] == files[1][name] for name in same)


def test_a_fault_a_hang_and_executed_code_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(call: object) -> str:
        case = targets.Case("x", call=call)  # type: ignore[arg-type]
        monkeypatch.setitem(targets.TARGETS, "x", (1, lambda rng, folder: case))
        return fuzz.run_case(["x"], 0, 0, tmp_path).kind

    def write_part() -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / ".a.png.part").touch()

    def loop() -> None:
        while True:
            pass

    monkeypatch.setattr(fuzz, "CPU_LIMIT", 0.1)
    assert outcome(lambda: 1 / 0) == "fault"
    assert outcome(loop) == "hang"
    assert outcome(lambda: 1) == "ok"
    assert outcome(lambda: (tmp_path / "EXECUTED").touch()) == "executed"
    (tmp_path / "EXECUTED").unlink()
    assert outcome(lambda: __import__(mutations.CANARY) if fuzz.canary_module() else 0) == "fault"  # it is not on the path
    assert outcome(write_part) == "half-written"
