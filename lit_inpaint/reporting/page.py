"""Fill the page template: charts, tables and images of runs as one self-contained HTML file."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from lit_inpaint.evaluation.comparison_tables import Cell, Table, build_table
from lit_inpaint.metrics import LPI, PROTOCOLS
from lit_inpaint.reporting.charts import COLORS, MAX_POINTS, Chart, Line
from lit_inpaint.reporting.load_runs import RunRecord, best_point
from lit_inpaint.reporting.sample_grids import SampleGrids
from lit_inpaint.reporting.worst_and_best import Gallery

if TYPE_CHECKING:
    from lit_inpaint.metrics import ScoreRow

WEBP_QUALITY = 85
_MAX_CHANGES = 8  # of the learning rate that are marked in a chart
_METRICS = {metric.name: metric for protocol in reversed(PROTOCOLS) for metric in protocol.metrics}  # the first one wins
_UNITS = {name: metric.unit for name, metric in _METRICS.items()}
_BATCH_TITLES = {
    "d_real": "discriminator's mean score of real images",
    "d_fake": "discriminator's mean score of completed images",
    "mask_ratio": "mean mask ratio of a batch",
    "images_per_second": "images per second",
}
Row = tuple[str, list[Cell]]
"""CSS class of a table's row, and its cells."""


class FinalTable(NamedTuple):
    """Final evaluation of the runs that were evaluated on the same samples.

    Attributes:
        labels: of the runs.
        table: their methods, by mask-ratio bucket.
        manifest: SHA-256 of the list of samples; empty where it was not recorded.
        protocol: name and description.
    """

    labels: Sequence[str]
    table: Table
    manifest: str
    protocol: str


def render(
    runs: Sequence[RunRecord], grids: Sequence[SampleGrids], galleries: Sequence[Gallery], environment: Mapping[str, str]
) -> str:
    """Render the page.

    Args:
        runs: at least one.
        grids: sample grids of each run.
        galleries: worst and best samples of each run.
        environment: versions and machine that rendered the page.

    Returns:
        HTML without any link to another file.
    """
    templates = Environment(
        loader=PackageLoader("lit_inpaint.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    templates.filters.update(data_uri=data_uri, score=_score)
    templates.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    overall, by_ratio = _validation_charts(runs)
    return templates.get_template("report.html.j2").render(
        runs=runs,
        best_psnr=[best_point(run.curves.get("val/psnr", ()), higher_is_better=True) for run in runs],
        overall_charts=overall,
        mask_ratio_charts=by_ratio,
        validations=[_validation_table(run) for run in runs],
        training_charts=_training_charts(runs),
        grids=grids,
        galleries=galleries,
        final_tables=_final_tables(runs),
        settings=_compare([run.settings() for run in runs]),
        versions=_compare([*({"seed": str(run.config.get("seed")), **run.versions} for run in runs), environment]),
        units=_UNITS,
        colors=COLORS,
        quality=WEBP_QUALITY,
        max_points=MAX_POINTS,
    )


def data_uri(image: Image.Image) -> str:
    """Encode an image as WebP in a data URI."""
    file = io.BytesIO()
    image.convert("RGB").save(file, format="WEBP", quality=WEBP_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _score(value: float) -> str:
    """As the tables of `evaluate` print it."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _lines(runs: Sequence[RunRecord], column: str) -> list[Line]:
    """One column of all runs that have it."""
    return [Line(run.label, number, run.curves[column]) for number, run in enumerate(runs) if column in run.curves]


def _validation_charts(runs: Sequence[RunRecord]) -> tuple[list[Chart], list[Chart]]:
    """Charts of each metric over all samples, and by mask ratio.

    All mask-ratio buckets of a single run share a chart. Of several runs each bucket has its own.
    """
    columns = _unique(name for run in runs for name in run.validation_columns())
    overall, by_ratio = [], []
    for metric in _unique(name.rpartition("/")[2] for name in columns):
        unit, title = _UNITS.get(metric, ""), metric.upper()
        buckets = {name.split("/")[1]: name for name in columns if name.count("/") == 2 and name.endswith(f"/{metric}")}
        if lines := _lines(runs, f"val/{metric}"):
            overall.append(Chart(f"{title}, all samples", lines, unit))
        if len(runs) > 1:
            by_ratio += [Chart(f"{title}, mask ratio {bucket}", _lines(runs, name), unit) for bucket, name in buckets.items()]
        elif buckets:
            lines = [Line(bucket, number, runs[0].curves[name]) for number, (bucket, name) in enumerate(buckets.items())]
            by_ratio.append(Chart(f"{title} by mask ratio", lines, unit))
    return overall, by_ratio


def _validation_table(run: RunRecord) -> tuple[list[str], list[Row]]:
    """Headings and rows: every value of each validation, the best of a column marked."""
    columns = run.validation_columns()
    rows: dict[int, list[Cell]] = {step: [Cell(f"{step:,}")] for name in columns for step, _ in run.curves[name]}
    for name in columns:
        points, metric = run.curves[name], _METRICS.get(name.rpartition("/")[2])
        best = best_point(points, metric.higher_is_better) if metric is not None and len(points) > 1 else None
        values = dict(points)
        for step, cells in rows.items():
            cells.append(Cell(f"{values[step]:.6g}" if step in values else "-", best=best is not None and best[0] == step))
    return ["step", *(name.removeprefix("val/") for name in columns)], [("", rows[step]) for step in sorted(rows)]


def _training_charts(runs: Sequence[RunRecord]) -> dict[str, list[Chart]]:
    """Charts by heading."""
    names = _unique(name.removeprefix("train/") for run in runs for name in run.curves if name.startswith("train/"))
    schedules = [name for name in names if name.startswith(("lr_", "weight_"))]
    players = [name for name in ("generator", "discriminator") if name in names]
    terms = [name for name in names if name not in (*schedules, *players, *_BATCH_TITLES)]
    if len(runs) > 1:
        schedule_charts = [Chart(name, _lines(runs, f"train/{name}")) for name in schedules]
    else:
        schedule_charts = []
        for title, prefix in (("learning rates", "lr_"), ("loss weights", "weight_")):
            if own := [name for name in schedules if name.startswith(prefix)]:
                curves = [(name.removeprefix(prefix), runs[0].curves[f"train/{name}"]) for name in own]
                schedule_charts.append(Chart(title, [Line(name, number, curve) for number, (name, curve) in enumerate(curves)]))
    changes = _rate_changes(runs)
    return {
        "Losses of both players": [
            Chart(f"{name}, sum of weighted terms", _loss_lines(runs, name), marks=changes) for name in players
        ],
        "Loss terms": [Chart(name, _loss_lines(runs, name), marks=changes) for name in terms],
        "Learning rates and loss weights": schedule_charts,
        "Batches": [Chart(title, _lines(runs, f"train/{name}")) for name, title in _BATCH_TITLES.items() if name in names],
    }


def _loss_lines(runs: Sequence[RunRecord], name: str) -> list[Line]:
    """A loss of training batches, and dashed that of the validation set, of all runs that have it."""
    validation = [line._replace(name=f"{line.name}, validation", dashed=True) for line in _lines(runs, f"val_loss/{name}")]
    return [*_lines(runs, f"train/{name}"), *validation]


def _rate_changes(runs: Sequence[RunRecord]) -> list[tuple[int, str]]:
    """First logged step and value of each learning rate of the generator after the first, if it is the same in all runs.

    Empty for a rate that changes all the time, as in a schedule.
    """
    found = []
    for run in runs:
        points = run.curves.get("train/lr_generator", ())
        pairs = itertools.pairwise(points)
        found.append([(step, f"rate {value:g}") for (_, before), (step, value) in pairs if value != before])
    return found[0] if all(changes == found[0] for changes in found) and len(found[0]) <= _MAX_CHANGES else []


def _final_tables(runs: Sequence[RunRecord]) -> list[FinalTable]:
    """One table for each list of samples."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.final_rows:
            groups.setdefault(str(run.final_rows[0].get("manifest", "")), []).append(run)
    return [_final_table(group, manifest, several=len(runs) > 1) for manifest, group in groups.items()]


def _final_table(runs: Sequence[RunRecord], manifest: str, several: bool) -> FinalTable:
    """Methods of all runs; a method with equal rows in several runs, as a baseline, stands once."""
    rows_of: dict[str, list[Mapping[str, object]]] = {}
    for run in runs:
        for method in _unique(str(row["method"]) for row in run.final_rows or ()):
            rows = [row for row in run.final_rows or () if row["method"] == method]
            name = f"{run.label} ({method})" if several and method == run.paper else method
            rows_of[name if rows_of.get(name, rows) == rows else f"{name} [{run.label}]"] = rows
    rows = [{**row, "method": name} for name, own in rows_of.items() for row in own]
    protocol = next((protocol for protocol in PROTOCOLS if protocol.name == rows[0].get("protocol")), LPI)
    table = build_table(cast("list[ScoreRow]", rows), protocol, "")
    return FinalTable([run.label for run in runs], table, manifest, f"{protocol.name}: {protocol.description}")


def _compare(columns: Sequence[Mapping[str, str]]) -> list[Row]:
    """A row for each key, "changed" if the columns differ."""
    rows = []
    for key in _unique(key for column in columns for key in column):
        values = [column.get(key, "-") for column in columns]
        rows.append(("changed" if len(set(values)) > 1 else "same", [Cell(key), *map(Cell, values)]))
    return rows
