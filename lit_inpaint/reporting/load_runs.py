"""A run folder, read for a report."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lit_inpaint.errors import UserError

Points = tuple[tuple[int, float], ...]
"""(step, value), in the order of the steps."""


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind.

    Attributes:
        path: the folder, as the user gave it.
        label: what the page calls it.
        config: `config.yaml`.
        curves: the numbers of `metrics.csv` by column.
        stages: (first logged step, name) of each stage of the training.
        table: the rows of `table.json`; None before the run has come to its end.
        samples: (step, file) of the grids, in order.
        versions: what its checkpoint says it was trained with, and of its latest start the machine, devices and launcher; as
            far as the run folder holds them.
    """

    path: Path
    label: str
    config: Mapping[str, Any]
    curves: Mapping[str, Points]
    stages: Sequence[tuple[int, str]]
    table: Sequence[Mapping[str, Any]] | None
    samples: Sequence[tuple[int, Path]]
    versions: Mapping[str, str]

    @property
    def paper(self) -> str:
        """The class that was trained."""
        return str(self.config["model"]["class_path"]).rpartition(".")[2]

    @property
    def last_step(self) -> int:
        """The newest step of the log."""
        return max(points[-1][0] for points in self.curves.values())

    def validations(self) -> list[str]:
        """The columns of the validation: of all samples first, then by range of damage."""
        return sorted((name for name in self.curves if name.startswith("val/")), key=lambda name: name.count("/"))

    def settings(self) -> dict[str, str]:
        """The configuration as one line for each setting, by its place in the YAML."""
        return {key: str(value) for key, value in _flat(self.config)}


def read_runs(paths: Sequence[Path]) -> list[RunRecord]:
    """Read run folders.

    Raises:
        UserError: one is no run folder, has had no validation yet, or holds a file that is broken; or the same is named twice.
    """
    full = [path.resolve() for path in paths]
    if doubles := [path for place, path in enumerate(paths) if full[place] in full[:place]]:
        raise UserError(f"the run folder {doubles[0]} is named twice")
    names = [path.name for path in full]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in full]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [_read(path, label) for path, label in zip(paths, names, strict=True)]


def _read(path: Path, label: str) -> RunRecord:
    config_file = path / "config.yaml"
    if not config_file.is_file():
        what = "does not exist" if not path.exists() else "is a file" if path.is_file() else "has no config.yaml"
        raise UserError(f"{path} is not a run folder: it {what}; name a folder that `fit` made, such as runs/lpi_demo/<time>")
    try:
        config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {config_file} ({error})") from None
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(model, dict) or "class_path" not in model:
        raise UserError(f"{config_file} is not the configuration of a run: it names no model")
    data = config.get("data") or {}
    if not isinstance(data, dict) or not isinstance(data.get("init_args") or {}, dict):
        raise UserError(f"{config_file} is not the configuration of a run: its data has no class_path and init_args")
    metrics = path / "metrics.csv"
    if not metrics.is_file():
        raise UserError(f"the run in {path} has no metrics.csv, so no validation yet; come back after its first one")
    curves, stages = _curves(metrics)
    if not any(name.startswith("val/") for name in curves):
        raise UserError(f"the run in {path} has had no validation yet; come back after its first one (val_check_interval)")
    samples = sorted(
        (int(match[1]), file) for file in (path / "samples").glob("step_*.png") if (match := _STEP.fullmatch(file.name))
    )
    versions = {**_versions(path), **_machine(path)}
    return RunRecord(path, label, config, curves, stages, _table(path / "table.json"), samples, versions)


_STEP = re.compile(r"step_(\d+)\.png")
_LARGEST = 1e300


def _curves(path: Path) -> tuple[dict[str, Points], list[tuple[int, str]]]:
    """The columns of numbers, and when the stage changed."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}); it should be a CSV with a column 'step'") from None
    whole = text[: text.rfind("\n") + 1]  # a crash, or a run that is going on, may leave half a row
    reader = csv.DictReader(io.StringIO(whole), restval="")
    if "step" not in (reader.fieldnames or ()):
        raise UserError(f"{path} is broken: its first line names no column 'step'")
    found: dict[str, dict[int, float]] = {}
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
                    found.setdefault(name, {})[step] = float(cell)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is broken: line {reader.line_num}: {error}") from None
    return {name: tuple(sorted(points.items())) for name, points in found.items()}, stages


def _table(path: Path) -> list[dict[str, Any]] | None:
    if not path.is_file():
        return None
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        keys = ("method", "bucket", "metric", "value", "n")
        for row in rows:
            if not set(keys) <= row.keys():
                raise ValueError(f"a row lacks one of {', '.join(keys)}")
            if not isinstance(row["value"], float | int | None) or not isinstance(row["n"], int):
                raise ValueError(f"a row has the value {row['value']!r} of n = {row['n']!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is broken ({error}); it should hold the rows of a table") from None
    return list(rows)


def _versions(path: Path) -> dict[str, str]:
    """What the newest checkpoint says about the programs that it was trained with."""
    for name in ("last.ckpt", "best.ckpt"):
        file = path / "checkpoints" / name
        if file.is_file():
            from lit_inpaint.runs.checkpoint_file import read_checkpoint

            versions = read_checkpoint(file)["lit_inpaint"].get("versions", {})
            return {str(program): str(version) for program, version in versions.items()}
    return {}


def _machine(path: Path) -> dict[str, str]:
    """What `machines.yaml` says of the latest start."""
    try:
        starts = yaml.safe_load((path / "machines.yaml").read_text())
        last = starts[-1]
        devices = Counter(str(process).partition(" ")[2] for process in last["processes"])
        found = {"starts": len(starts), "launcher": last["launcher"]}
        found |= {"device": ", ".join(f"{count} x {device}" for device, count in devices.items()), **last["machine"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return {}
    return {str(name): str(value) for name, value in found.items()}


def _flat(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{key}[{place}]")
    else:
        yield key, value


def is_finite(value: float) -> bool:
    """Whether a value can be drawn: larger ones than 1e300 are about to overflow, and so would the range of a chart."""
    return abs(value) <= _LARGEST


def best_of(points: Points, higher: bool) -> tuple[int, float] | None:
    """The best (step, value) that is a number."""
    finite = [point for point in points if is_finite(point[1])]
    if not finite:
        return None
    return max(finite, key=lambda point: point[1] if higher else -point[1])
