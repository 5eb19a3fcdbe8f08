"""Costs of networks as rows for JSON and as printed tables, beside the figures of their papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from lit_inpaint.profiling.epoch_time import Epoch, published_epoch_table
from lit_inpaint.profiling.latency import DevicePrecision, ForwardBenchmark, Timing
from lit_inpaint.profiling.macs import ModelSize
from lit_inpaint.profiling.networks import Network, all_variants
from lit_inpaint.profiling.published_differences import NOTES
from lit_inpaint.published import Figure, PublishedTable, cost_figure, tables

Costs = dict[str, dict[str, Any]]
"""Rows of one network by metric, with the keys of an evaluation's rows. `value` is exact, a published figure keeps its unit.

"latency", "throughput" and "peak_memory" are float32, on the GPU if there is one, else on the CPU; others end with "_cpu",
"_bf16" or both.
"""
DEVICE_NAMES = {"cpu": "CPU", "cuda": "GPU"}
_UNITS = {"2^20": "Mi", "10^6": "M", "2^20 bytes": "MiB", "1": ""}


class _Column(NamedTuple):
    """A column of a table: `row[key] / scale` of each network's row of `metric`, or its published figure."""

    heading: str
    metric: str
    scale: float = 1
    style: str = ".0f"
    key: str = "value"


def _published_column(metric: str) -> _Column:
    return _Column("published", metric, key="published")


_SIZE_COLUMNS = (
    _Column("parameters Mi", "parameters", 2**20, ".3f"),
    _published_column("parameters"),
    _Column("M", "parameters", 1e6, ".3f"),
    _Column("MACs G", "macs", 1e9, ".3f"),
    _Column("weights MiB", "weights_file", 2**20, ".2f"),
    _published_column("weights_file"),
    _Column("MB", "weights_file", 1e6, ".2f"),
    _Column("checkpoint MB", "checkpoint_file", 1e6, ".2f"),
)
_EPOCH_COLUMNS = (
    _Column("s for a step", "epoch", style=".3g", key="step"),
    _Column("n", "epoch", key="n"),
    _Column("s for an epoch", "epoch", style=",.0f"),
    _published_column("epoch"),
)


def cost_rows(
    network: Network, model_size: ModelSize, benchmarks: Mapping[DevicePrecision, ForwardBenchmark], size: int
) -> Costs:
    """Rows of one network; `size` is the side of the images in pixels."""
    rows = [
        _row(network, "parameters", model_size.parameters, "1", size),
        _row(network, "macs", model_size.macs, "1", size),
        _row(network, "weights_file", model_size.weights_file, "byte", size),
    ]
    if network.checkpoint is not None:
        rows.append(_row(network, "checkpoint_file", network.checkpoint.stat().st_size, "byte", size))
    rows += [_row(network, part, count, "1", size) for part, count in model_size.parts.items()]
    first = "cuda" if any(kind.device.type == "cuda" for kind in benchmarks) else "cpu"
    for kind, benchmark in benchmarks.items():
        end = ("" if kind.device.type == first else "_cpu") + ("_bf16" if kind.precision == "bf16" else "")
        details = {"device": kind.device.type, "precision": kind.precision}
        rows.append(_row(network, f"peak_memory{end}", benchmark.peak, "byte", size, details=details | {"batch": 1}))
        for batch, (seconds, n) in benchmark.timings.items():
            metric, value, unit = (
                ("latency", seconds * 1000, "ms") if batch == 1 else ("throughput", batch / seconds, "images/s")
            )
            rows.append(_row(network, f"{metric}{end}", value, unit, size, n, details | {"batch": batch}))
    return {row["metric"]: row for row in rows}


def epoch_row(network: Network, step: Timing, epoch: Epoch, device: str) -> dict[str, Any]:
    """Row of an epoch's seconds; `n` is the number of timed steps."""
    details = {"device": device, "precision": "float32", "batch": epoch.batch, "images": epoch.images, "step": step.seconds}
    return _row(network, "epoch", step.seconds * epoch.steps, "s", epoch.size, step.n, details)


def print_costs(networks: Sequence[Network], costs: Sequence[Costs], size: int, machine: str) -> None:
    """Print size, parts and speed of all networks, and why published figures differ.

    Args:
        networks: at least one.
        costs: rows of each network.
        size: side of the images in pixels.
        machine: description of the hardware.
    """
    papers = sorted({_paper(network) for network in networks})
    title = f"Generators, {size}x{size}. Mi = 2^20, M = 10^6, G = 10^9. MACs = FLOPs / 2."
    _print(_table(title, networks, costs, _SIZE_COLUMNS, [figures for paper in papers for figures in tables(paper)]))
    parts = Table(title="Parameters of each part, and of all with the discriminator", title_justify="left")
    for heading in ("network", "part", "parameters", "published"):
        parts.add_column(heading, justify="left" if heading == "network" else "right")
    for network, cost in zip(networks, costs, strict=True):
        names = [metric for metric, row in cost.items() if row["unit"] == "1" and metric not in ("parameters", "macs")]
        for number, part in enumerate(names):
            cells = network.label if number == 0 else "", part, f"{cost[part]['value']:,}"
            parts.add_row(*cells, _published_text(_published(network, part)), end_section=part == "total")
    _print(parts)
    for peak in (row for metric, row in costs[0].items() if metric.startswith("peak_memory")):
        end = peak["metric"].removeprefix("peak_memory")
        columns = [_Column("peak memory MiB", peak["metric"], 2**20, ".1f")]
        if any(f"latency{end}" in cost for cost in costs):
            columns += [_Column("ms for 1 image", f"latency{end}", style=".1f"), _Column("n", f"latency{end}", key="n")]
        if batches := {cost[f"throughput{end}"]["batch"] for cost in costs if f"throughput{end}" in cost}:
            columns += [_Column(f"images/s at {max(batches)}", f"throughput{end}", style=".3g")]
            columns += [_Column("n", f"throughput{end}", key="n"), _published_column("throughput")]
        where = f"{DEVICE_NAMES[peak['device']]}, {peak['precision']}, {size}x{size}"
        _print(_table(f"{where} ({machine}); medians of n interleaved passes", networks, costs, columns))
    for network in networks:
        if note := NOTES.get(network.variant or ""):
            _print(f"{network.label}: {note}")


def print_epochs(networks: Sequence[Network], costs: Sequence[Costs], epoch: Epoch, device: str, machine: str) -> None:
    """Print the seconds of a training step and of an epoch."""
    published = published_epoch_table()
    images = f"{epoch.images:,} images of {epoch.size}x{epoch.size} in batches of {epoch.batch}"
    title = f"Training, {DEVICE_NAMES[device]} ({machine}), float32: {images}, {epoch.steps:,} steps of the median of n"
    _print(_table(title, networks, costs, _EPOCH_COLUMNS, [published]))
    print(f"Published seconds were taken on other hardware, so they compare networks with one another only. {published.note}")


def _table(
    title: str,
    networks: Sequence[Network],
    costs: Sequence[Costs],
    columns: Sequence[_Column],
    published_tables: Sequence[PublishedTable] = (),
) -> Table:
    """Networks as lines, then methods of `published_tables` that are not available as networks."""
    columns = [
        column for column in columns if column.metric != "checkpoint_file" or any(column.metric in cost for cost in costs)
    ]
    table = Table(title=title, title_justify="left")
    types = {method: text for published in published_tables for method, text in published.network_types.items()}
    table.add_column("network")
    for column in columns:
        table.add_column(column.heading, justify="right")
    if types:
        table.add_column("type, published")
    for network, cost in zip(networks, costs, strict=True):
        type_cell = [types.get(network.variant or "", "-")] if types else []
        table.add_row(network.label, *(_cell(network, cost, column) for column in columns), *type_cell)
    table.add_section()
    ours, shown = all_variants(), [column.metric for column in columns if column.key == "published"]
    for published in published_tables:
        for method in published.figures if shown[0] in published.units else ():
            found = {metric: published.figure(method, metric) for metric in shown}
            if method not in ours and any(found.values()):
                generators = published.figure(method, "generators")
                cells = [
                    _published_text(found[column.metric], generators if column.metric == "parameters" else None)
                    if column.key == "published"
                    else "-"
                    for column in columns
                ]
                table.add_row(f"{method} (published)", *cells, *([types.get(method, "-")] if types else []))
    return table


def _cell(network: Network, cost: Costs, column: _Column) -> str:
    if column.key == "published":
        generators = _published(network, "generators") if column.metric == "parameters" else None
        return _published_text(_published(network, column.metric), generators)
    row = cost.get(column.metric)
    return "-" if row is None else format(row[column.key] / column.scale, column.style)


def _print(content: Table | str) -> None:
    console = Console()
    console.width = max(console.width, 160)  # narrow log files would wrap the cells of tables
    console.print(content, highlight=False)


def _row(
    network: Network, metric: str, value: float, unit: str, size: int, n: int = 1, details: Mapping[str, object] | None = None
) -> dict[str, Any]:
    row: dict[str, Any] = {"method": network.label, "protocol": "cost", "bucket": "all", "size": size}
    if network.checkpoint is not None:
        row["checkpoint"] = str(network.checkpoint)
    row |= {"metric": metric, "value": value, "unit": unit, "n": n, **(details or {})}
    if figure := _published(network, metric):
        row |= {"published": figure.value, "published_unit": figure.unit, "published_in": figure.source}
    return row


def _paper(network: Network) -> str:
    """Name of the file of published tables."""
    return network.model.published_in or type(network.model).__module__.rpartition(".")[2]


def _published(network: Network, metric: str) -> Figure | None:
    """Figure of the network's own paper, else of another paper."""
    if network.variant is None:
        return None
    elsewhere = (table.figure(network.variant, metric) for table in tables())
    return cost_figure(_paper(network), network.variant, metric) or next(filter(None, elsewhere), None)


def _published_text(figure: Figure | None, generators: Figure | None = None) -> str:
    """A figure as its paper prints it, with its unit; `generators` is the number of networks of which it is one's."""
    if figure is None:
        return "-"
    number = f"{figure.value:,}" if figure.unit == "1" else str(figure.value)
    times = "" if generators is None else f"(x{generators.value:.0f})"
    return f"{number} {_UNITS.get(figure.unit, figure.unit)} {times}".strip()
