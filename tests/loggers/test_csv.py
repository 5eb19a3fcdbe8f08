import csv
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lit_inpaint.loggers.csv import CSVLogger


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def test_new_names_become_columns(tmp_path: Path) -> None:
    log = CSVLogger(tmp_path / "metrics.csv")
    log.log_metrics({"train/l1": 0.123456789123}, 1)
    log.log_metrics({"train/l1": 0.5}, 2)
    log.log_metrics({"val/psnr": float("nan")}, 2)
    assert read(log.path) == [
        {"step": "1", "train/l1": "0.12345679"},
        {"step": "2", "train/l1": "0.5"},
        {"step": "2", "val/psnr": "nan"},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize(("step", "left"), [(-1, 0), (1, 1), (2, 3), (9, 4)])
def test_rewind(step: int, left: int, tmp_path: Path) -> None:
    log = CSVLogger(tmp_path / "metrics.csv")
    for values, at in (({"a": 1.0}, 1), ({"a": 2.0}, 2), ({"b": 3.0}, 2), ({"a": 4.0}, 3)):
        log.log_metrics(values, at)
    again = CSVLogger(log.path)
    again.rewind(step)
    assert len(read(log.path)) == left
    again.log_metrics({"a": 5.0}, 10)
    assert read(log.path)[-1] == {"step": "10", "a": "5"}
    assert len(read(log.path)) == left + 1


def test_a_repeated_validation_is_logged_once(tmp_path: Path) -> None:
    log = CSVLogger(tmp_path / "metrics.csv")
    log.log_metrics({"train/l1": 1.0}, 4)
    log.log_metrics({"val/psnr": 20.0}, 4)
    CSVLogger(log.path).log_metrics({"val/psnr": 20.0}, 4)
    assert read(log.path) == [{"step": "4", "train/l1": "1"}, {"step": "4", "val/psnr": "20"}]


def test_a_truncated_row_is_dropped(tmp_path: Path) -> None:
    log = CSVLogger(tmp_path / "metrics.csv")
    log.log_metrics({"a": 1.0, "b": 2.0}, 1)
    with log.path.open("a") as file:
        file.write("2,3.")
    again = CSVLogger(log.path)
    again.rewind(2)
    assert read(log.path) == [{"step": "1", "a": "1", "b": "2"}]


def test_no_file_without_a_row(tmp_path: Path) -> None:
    CSVLogger(tmp_path / "metrics.csv").rewind(-1)
    assert not any(tmp_path.iterdir())


def test_a_row_costs_the_same_whatever_was_logged_before(tmp_path: Path) -> None:
    class Rows(list[dict[str, str]]):
        """Fails when all rows are read."""

        def __iter__(self) -> NoReturn:
            raise AssertionError("all rows are read for one more")

        def __getitem__(self, index: Any) -> NoReturn:
            raise AssertionError("rows are read for one more")

    log = CSVLogger(tmp_path / "metrics.csv")
    log.log_metrics({"a": 1.0}, 1)
    log._rows = Rows(log._rows)
    for step in range(2, 5):
        log.log_metrics({"a": 1.0}, step)
    assert [row["step"] for row in read(log.path)] == ["1", "2", "3", "4"]
