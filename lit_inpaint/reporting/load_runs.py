"""Load run directories: configuration, logged curves, final evaluation, sample grids and versions."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_inpaint.errors import UserError
from lit_inpaint.storage.plain_data import parse_json, read_yaml
from lit_inpaint.storage.user_path import real_path

Points = tuple[tuple[int, float], ...]
"""(step, value), in ascending steps."""
_MAX_VALUE = 1e300
_GRID_NAME = re.compile(r"step_(\d+)\.png")


@dataclass(frozen=True)
class RunRecord:
    """Content of one run directory.

    Attributes:
        path: the folder, as the user gave it.
        label: name of the run on the page.
        config: `config.yaml`.
        curves: numeric columns of `metrics.csv`.
        stages: (first logged step, name) of each training stage.
        final_rows: rows of `final_evaluation.json`, the final evaluation; None while the run is unfinished.
        samples: (step, file) of the sample grids, in ascending steps.
        versions: package versions in the newest checkpoint; machine, devices and launcher of the latest start. Empty where
            the folder has no record.
    """

    path: Path
    label: str
    config: Mapping[str, Any]
    curves: Mapping[str, Points]
    stages: Sequence[tuple[int, str]]
    final_rows: Sequence[Mapping[str, Any]] | None
    samples: Sequence[tuple[int, Path]]
    versions: Mapping[str, str]

    @property
    def paper(self) -> str:
        """Class name of the trained paper."""
        return str(self.config["model"]["class_path"]).rpartition(".")[2]

    @property
    def last_step(self) -> int:
        """Last step of `metrics.csv`."""
        return max(points[-1][0] for points in self.curves.values())

    def validation_columns(self) -> list[str]:
        """Columns of validation metrics: over all samples first, then by mask-ratio bucket."""
        return sorted((name for name in self.curves if name.startswith("val/")), key=lambda name: name.count("/"))

    def settings(self) -> dict[str, str]:
        """Every setting of the configuration by its dotted key."""
        return {key: str(value) for key, value in _flatten(self.config)}


def load_runs(paths: Sequence[Path]) -> list[RunRecord]:
    """Load run directories.

    Raises:
        UserError: a path is no run directory or stands twice; a run has no validation yet; a file is broken.
    """
    full = [real_path(path) for path in paths]
    if doubles := [path for index, path in enumerate(paths) if full[index] in full[:index]]:
        raise UserError(f"the run directory {doubles[0]} is named twice")
    labels = next(
        names
        for names in ([p.name for p in full], [f"{p.parent.name}/{p.name}" for p in full], [str(p) for p in full])
        if len(set(names)) == len(names)
    )
    return [_load_run(path, label) for path, label in zip(paths, labels, strict=True)]


def is_finite(value: float) -> bool:
    """Whether a value can be drawn. Beyond 1e300 the range of a chart would overflow."""
    return abs(value) <= _MAX_VALUE


def best_point(points: Points, higher_is_better: bool) -> tuple[int, float] | None:
    """The best finite (step, value), None if there is none."""
    finite = [point for point in points if is_finite(point[1])]
    return max(finite, key=lambda point: point[1] if higher_is_better else -point[1], default=None)


def _load_run(path: Path, label: str) -> RunRecord:
    config_file, metrics_file, table_file = path / "config.yaml", path / "metrics.csv", path / "final_evaluation.json"
    if not config_file.is_file():
        problem = "does not exist" if not path.exists() else "is a file" if path.is_file() else "has no config.yaml"
        raise UserError(f"{path} is not a run directory: it {problem}; name a folder that `fit` made, as runs/lpi_demo/<time>")
    with _reading(config_file, "the configuration of a run"):
        config = read_yaml(config_file)
        model, data = config.get("model"), config.get("data") or {}
        if not isinstance(model, dict) or "class_path" not in model:
            raise ValueError("model has no class_path")
        if not isinstance(data, dict) or not isinstance(data.get("init_args") or {}, dict):
            raise ValueError("data has no class_path and init_args")
        if not isinstance(data.get("class_path", ""), str):
            raise ValueError(f"data has the class_path {data['class_path']!r}")
    if not metrics_file.is_file():
        raise UserError(f"the run in {path} has no metrics.csv, so no validation yet; repeat this after its first validation")
    with _reading(metrics_file, "a CSV with a column 'step' and numbers"):
        curves, stages = _read_metrics(metrics_file)
    if not any(name.startswith("val/") for name in curves):
        raise UserError(f"the run in {path} has no validation yet; repeat this after the first one (val_check_interval)")
    rows = None
    if table_file.is_file():
        with _reading(table_file, "the rows of a table"):
            rows = _read_final_rows(table_file)
    grids = (path / "samples").glob("step_*.png")
    samples = sorted((int(match[1]), file) for file in grids if (match := _GRID_NAME.fullmatch(file.name)))
    return RunRecord(path, label, config, curves, stages, rows, samples, _read_versions(path))


@contextmanager
def _reading(file: Path, expected: str) -> Iterator[None]:
    """Turn errors of reading and parsing `file` into one line."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(f"cannot read {file} ({error}); it should hold {expected}") from None


def _read_metrics(file: Path) -> tuple[dict[str, Points], list[tuple[int, str]]]:
    text = file.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]  # a crash or a live run may leave half a row
    reader = csv.DictReader(io.StringIO(complete), restval="")
    if "step" not in (reader.fieldnames or ()):
        raise ValueError("no column 'step'")
    curves: dict[str, dict[int, float]] = {}
    stages = list[tuple[int, str]]()
    try:
        for row in reader:
            if None in row:
                raise ValueError("more cells than columns")
            step = int(row.pop("step"))
            stage = row.pop("train/stage", "")
            if stage and (not stages or stages[-1][1] != stage):
                stages.append((step, stage))
            for name, cell in row.items():
                if cell:
                    curves.setdefault(name, {})[step] = float(cell)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    return {name: tuple(sorted(points.items())) for name, points in curves.items()}, stages


def _read_final_rows(file: Path) -> list[dict[str, Any]]:
    rows = list(parse_json(file.read_text(encoding="utf-8"))["rows"])
    for row in rows:
        if missing := {"method", "bucket", "metric", "value", "n"} - row.keys():
            raise ValueError(f"a row lacks {', '.join(sorted(missing))}")
        if wrong := [name for name in ("method", "bucket", "metric") if not isinstance(row[name], str)]:
            raise ValueError(f"a row has the {wrong[0]} {row[wrong[0]]!r}")
        if not isinstance(row["value"], float | int | None) or not isinstance(row["n"], int):
            raise ValueError(f"a row has the value {row['value']!r} of n = {row['n']!r}")
    return rows


def _read_versions(path: Path) -> dict[str, str]:
    """Versions of the newest checkpoint, and the last entry of `launches.yaml` unless it is broken."""
    found: dict[str, object] = {}
    checkpoints = [path / "checkpoints" / name for name in ("last.ckpt", "best.ckpt")]
    if checkpoint := next((file for file in checkpoints if file.is_file()), None):
        from lit_inpaint.runs.checkpoint_file import read_checkpoint

        found |= read_checkpoint(checkpoint)["lit_inpaint"].get("versions", {})
    try:
        starts = read_yaml(path / "launches.yaml")
        last = starts[-1]
        devices = Counter(str(process).partition(" ")[2] for process in last["processes"])
        names = ", ".join(f"{count} x {device}" for device, count in devices.items())
        found |= {"starts": len(starts), "launcher": last["launcher"], "device": names, **last["machine"]}
    except (UserError, LookupError, TypeError, ValueError, AttributeError):
        pass
    return {str(name): str(value) for name, value in found.items()}


def _flatten(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flatten(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, inner in enumerate(value):
            yield from _flatten(inner, f"{key}[{index}]")
    else:
        yield key, value
