"""Logger of `metrics.csv`: one row per call, with every logged number and text."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lit_inpaint.storage.atomic_write import atomic_write


class CSVLogger(Logger):
    """Appends rows; a value with a new name rewrites the file with one more column.

    Lightning's own logger empties its folder when a run resumes. This one keeps the rows; `rewind` drops those that a resumed
    run logs again.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._rows: list[dict[str, str]] = []
        self._columns = ["step"]
        if path.exists():
            text = path.read_text(encoding="utf-8")
            reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))  # a crash may truncate the last row
            self._rows = [{key: value for key, value in row.items() if value} for row in reader]
            self._columns = list(reader.fieldnames or self._columns)
        self._kinds = set(map(_kind, self._rows))

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Empty: there is one file."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log nothing: `config.yaml` holds the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Append one row of numbers and text."""
        cells = {name: value if isinstance(value, str) else f"{float(value):.8g}" for name, value in metrics.items()}
        row = {"step": str(step), **cells}
        kind = _kind(row)
        repeated = kind in self._kinds
        if repeated:  # a resumed run repeats a validation that a kill interrupted
            self._rows = [old for old in self._rows if _kind(old) != kind]
        self._kinds.add(kind)
        self._rows.append(row)
        new = [name for name in row if name not in self._columns]
        if new or repeated or not self.path.exists():
            self._columns += new
            self._write_all()
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop the rows of later steps than `step`."""
        self._rows = [row for row in self._rows if int(row["step"]) <= step]
        self._kinds = set(map(_kind, self._rows))
        if self.path.exists():
            self._write_all()

    def _write_all(self) -> None:
        with atomic_write(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows)


def _kind(row: dict[str, str]) -> tuple[str, frozenset[str]]:
    """Return the step of a row and the names of its values: two rows with the same ones are of the same event."""
    return row["step"], frozenset(row)
