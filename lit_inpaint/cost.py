"""What networks cost, beside what their papers say: `python -m lit_inpaint.cost --papers LPI LPI-Large`."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser, whole_number
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.profiling.published_differences import NOTES
from lit_inpaint.published import PublishedTable, cost_figure, tables
from lit_inpaint.storage.output_files import output_file, write_json

if TYPE_CHECKING:
    from rich.table import Table
    from torch import device as Device

    from lit_inpaint.engine.inpainter import Inpainter
    from lit_inpaint.profiling.latency import DevicePrecision, ModelSize, Speed, Timing

_EPILOG = """
Sizes, times and memory are of generators, as they are what is deployed; the parts are listed with their discriminators.
Multiply-adds are half of the FLOPs that torch.utils.flop_counter finds in convolutions and matrix products; activations,
normalisation and resizing are not in it. Times are medians of passes taken in turns over all networks, after one to warm up for
each network and number of images: up to --runs of them, or as many as --seconds allow each network, but one at least. bf16 is
autocast. Mi = 2^20, M = 10^6, MB = 10^6 bytes.

--epoch adds the time of a training epoch, in float32, on the GPU where there is one: the median time of a training step (timed
likewise, one network after the other, in the longest stage of its plan; loading is not in it) times the steps of an epoch.
Unless --epoch_images, --epoch_batch or --size say otherwise, an epoch is that of the paper that prints such times: WaveMix's.
"""
_MEBI = 2**20
_SIZE = 256
_DEVICES = {"cpu": "CPU", "cuda": "GPU"}
_BATCHES = {"cpu": 2, "cuda": 32}
_UNITS = {"2^20": "Mi", "10^6": "M", "2^20 bytes": "MiB", "1": ""}


class Network(NamedTuple):
    """A network of the table: its name, its variant's name in its paper's tables, its checkpoint where it has one."""

    label: str
    variant: str | None
    model: Inpainter
    checkpoint: Path | None = None


class Epoch(NamedTuple):
    """What a training epoch is: how many images, the side they have, how many of them in a step, and so how many steps."""

    images: int
    size: int
    batch: int

    @property
    def steps(self) -> int:
        """Whole batches."""
        return max(1, self.images // self.batch)


class Setting(NamedTuple):
    """What was measured under: side of the images, and images in a batch for the throughput by kind of device."""

    size: int
    batches: Mapping[str, int]


def main(argv: list[str]) -> int:
    """Measure and print; returns the exit status."""
    parser = CommandParser("cost", "Parameters, multiply-adds, memory, time and file size of the networks.", _EPILOG)
    parser.add_argument("--papers", metavar="NAME", nargs="+", help="classes or variants (default: all, unless --checkpoint)")
    parser.add_argument("--checkpoint", metavar="FILE", nargs="+", default=[], help=".ckpt files of runs")
    parser.add_argument(
        "--size", metavar="PIXELS", type=whole_number(1), help="side of the image (default 256; 96 for --epoch)"
    )
    parser.add_argument("--epoch", action="store_true", help="seconds of a training epoch too (minutes on a CPU)")
    parser.add_argument("--epoch_images", metavar="N", type=whole_number(1), help="images in it (default 80000)")
    parser.add_argument("--epoch_batch", metavar="N", type=whole_number(1), help="images in a step of it (default 40)")
    parser.add_argument("--runs", metavar="N", type=whole_number(1), default=10, help="timed passes at most (default 10)")
    parser.add_argument(
        "--seconds", metavar="N", type=whole_number(1), default=1, help="for each network and kind of pass (default 1)"
    )
    parser.add_argument(
        "--batch_size", metavar="N", type=whole_number(2), help="for the throughput (default 2 on a CPU, 32 on a GPU)"
    )
    parser.add_argument(
        "--bf16",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto: where the hardware has instructions for it; without them a pass takes tens of times as long",
    )
    parser.add_argument("--no_timing", action="store_true", help="no latency and no throughput")
    parser.add_argument("--output", metavar="FILE.json", help="write the numbers there")
    options = parser.parse_args(argv)
    output = output_file(options.output, ".json") if options.output is not None else None

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler, asked for memory, complains of missing GPUs
    import torch

    from lit_inpaint.profiling.latency import DevicePrecision, benchmark_forward, count_params_macs, has_bf16

    entry_point.silence_warnings()
    entry_point.tune_malloc()
    networks = [] if options.checkpoint and options.papers is None else _networks(options.papers)
    networks += _checkpoints([Path(name) for name in options.checkpoint])
    devices = [torch.device("cpu")] + ([torch.device("cuda")] if torch.cuda.is_available() else [])
    batches = {kind: options.batch_size or size for kind, size in _BATCHES.items()}
    if not options.epoch and (options.epoch_images or options.epoch_batch):
        raise UserError("--epoch_images and --epoch_batch are of --epoch; say that too, or leave them out")
    size = options.size or _SIZE
    setting = Setting(size, batches)
    models = [network.model for network in networks]
    sizes = [count_params_macs(model, size) for model in models]
    speeds: dict[DevicePrecision, list[Speed]] = {}
    without = []
    for device in devices:
        wanted = options.bf16 == "always" or (options.bf16 == "auto" and has_bf16(device))
        if options.bf16 == "auto" and not wanted:
            without.append(f"no bf16 on the {_DEVICES[device.type]}, which has no instructions for it (--bf16 always)")
        for kind in [DevicePrecision(device, "float32")] + ([DevicePrecision(device, "bf16")] if wanted else []):
            timed = [] if options.no_timing else [1, batches[device.type]]
            try:
                speeds[kind] = benchmark_forward(models, size, timed, options.runs, options.seconds, kind)
            except torch.OutOfMemoryError:
                raise UserError(
                    f"out of memory on the GPU at {size}x{size}; give a smaller --size or --batch_size, or fewer --papers"
                ) from None
            without += _too_large(networks, speeds[kind], timed, kind)
    if len(devices) == 1:
        without.append("no GPU here")
    threads = f"CPU, {torch.get_num_threads()} threads"
    machine = f"{torch.cuda.get_device_name()}; {threads}" if len(devices) > 1 else threads
    _print(networks, sizes, speeds, setting, machine)
    epoch = _epoch(options.epoch_images, options.size, options.epoch_batch)
    steps: list[Timing | None] = [None] * len(networks)
    if options.epoch:
        steps, complaints = _steps(networks, epoch, options.runs, options.seconds, devices[-1])
        without += complaints
        _print_epochs(networks, steps, epoch, devices[-1], machine)
    for line in without:
        print(f"Not measured: {line}")
    if output is not None:
        rows = [
            row
            for number, network in enumerate(networks)
            for row in [
                *_rows(network, sizes[number], {kind: found[number] for kind, found in speeds.items()}, setting),
                *_epoch_rows(network, steps[number], epoch, devices[-1]),
            ]
        ]
        write_json(output, {"rows": rows, "machine": machine, "torch": str(torch.__version__), "not_measured": without})
        print(f"{len(rows)} rows in {output}")
    return 0


def _timed() -> PublishedTable:
    """The published table that has seconds of an epoch."""
    return next(table for table in tables() if table.training is not None)


def _epoch(images: int | None, size: int | None, batch: int | None) -> Epoch:
    """What the options say, else what the published times are of."""
    published = _timed().training or {}
    return Epoch(images or published["images"], size or published["size"], batch or published["batch"])


def _steps(
    networks: Sequence[Network], epoch: Epoch, runs: int, seconds: float, device: Device
) -> tuple[list[Timing | None], list[str]]:
    """The time of a training step of each network, and a line for those that cannot be trained so."""
    import torch

    from lit_inpaint.profiling.latency import benchmark_train_step

    steps: list[Timing | None] = []
    complaints: dict[str, list[str]] = {}
    for network in networks:
        step = None
        try:
            with _quietly():
                step = benchmark_train_step(
                    _trainable(network, epoch.size), epoch.size, epoch.batch, epoch.steps, runs, seconds, device
                )
        except torch.OutOfMemoryError:
            complaints.setdefault("out of memory; give a smaller --epoch_batch", []).append(network.label)
        except UserError as error:
            complaints.setdefault(str(error), []).append(network.label)
        steps.append(step)
    return steps, [f"an epoch of {', '.join(labels)}: {reason}" for reason, labels in complaints.items()]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what Lightning says when a run begins."""
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _trainable(network: Network, size: int) -> Inpainter:
    """A network as it would learn from images of `size`; a checkpoint's as it did.

    Loss networks get random weights, with which they take the same time and need no file.
    """
    if network.checkpoint is not None:
        return network.model
    paper: Any = type(network.model)
    chosen: dict[str, object] = {"vgg": "random", "size": size}
    taken = {name: value for name, value in chosen.items() if name in inspect.signature(paper).parameters}
    return cast("Inpainter", paper(**{**paper.published_as.get(network.variant, {}), **taken}))


def _epoch_rows(network: Network, step: Timing | None, epoch: Epoch, device: Device) -> list[dict[str, Any]]:
    """A row like those of `_rows`; `n` is the number of steps that were timed."""
    if step is None:
        return []
    where: dict[str, Any] = {"method": network.label, "protocol": "cost", "bucket": "all", "size": epoch.size}
    if network.checkpoint is not None:
        where["checkpoint"] = str(network.checkpoint)
    about = {"device": device.type, "precision": "float32", "batch": epoch.batch, "images": epoch.images, "step": step.seconds}
    measured = {"metric": "epoch", "value": step.seconds * epoch.steps, "unit": "s", "n": step.n}
    return [{**where, **measured, **about, **_published(network, "epoch")}]


def _print_epochs(
    networks: Sequence[Network], steps: Sequence[Timing | None], epoch: Epoch, device: Device, machine: str
) -> None:
    from rich.console import Console

    table = _table(
        f"Training, {_DEVICES[device.type]} ({machine}), float32: {epoch.images:,} images of {epoch.size}x{epoch.size} in "
        f"batches of {epoch.batch}, {epoch.steps:,} steps of the median of n",
        *("s for a step", "n", "s for an epoch", "published"),
    )
    for network, step in zip(networks, steps, strict=True):
        cells = ["-", "-", "-"]
        if step is not None:
            cells = [f"{step.seconds:.3g}", str(step.n), f"{step.seconds * epoch.steps:,.0f}"]
        table.add_row(network.label, *cells, _printed(network, "epoch"))
    published, ours = _timed(), _all_variants()
    for method in published.figures:
        if method not in ours and (figure := published.figure(method, "epoch")) is not None:
            table.add_row(f"{method} (published)", "-", "-", "-", _with_unit(figure.value, figure.unit))
    console = Console()
    console.width = max(console.width, 130)
    console.print(table)
    print(f"Published seconds were taken on other hardware, so they compare networks with one another only. {published.note}")


def _too_large(
    networks: Sequence[Network], speeds: Sequence[Speed], batches: Sequence[int], kind: DevicePrecision
) -> list[str]:
    """A line for each number of images for which the GPU's memory was too small."""
    lines = []
    for batch in batches:
        if names := [network.label for network, speed in zip(networks, speeds, strict=True) if batch not in speed.timings]:
            images = "1 image" if batch == 1 else f"{batch} images"
            where = f"{images} in {kind.precision} on the {_DEVICES[kind.device.type]}"
            lines.append(
                f"{', '.join(names)} with {where}, out of memory; give a smaller --{'size' if batch == 1 else 'batch_size'}"
            )
    return lines


def _all_variants() -> set[str]:
    """The names, in the papers' tables, of all networks that could be asked for."""
    return {name for paper in _papers() for name in paper.published_as}


def _papers() -> list[type[Inpainter]]:
    from lit_inpaint import papers
    from lit_inpaint.engine.inpainter import Inpainter

    listed = [getattr(papers, name) for name in papers.__all__]
    return [paper for paper in listed if inspect.isclass(paper) and issubclass(paper, Inpainter)]


def _networks(names: Sequence[str] | None) -> list[Network]:
    """The variants of all papers, or those that are named by class or by variant."""
    papers = _papers()
    by_class = {paper.__name__: [(name, paper) for name in paper.published_as or (paper.__name__,)] for paper in papers}
    by_variant = {name: [(name, paper)] for variants in by_class.values() for name, paper in variants}
    known = by_variant | by_class
    wanted: dict[str, type[Inpainter]] = {}
    for name in names if names is not None else by_class:
        if name not in known:
            raise UserError(f"no paper or variant {name!r}{did_you_mean(name, known, n=3, cutoff=0.4)}")
        wanted.update(known[name])
    return [Network(name, name, cast(Any, paper)(**paper.published_as.get(name, {}))) for name, paper in wanted.items()]


def _checkpoints(paths: Sequence[Path]) -> list[Network]:
    from lit_inpaint.evaluation.method_labels import label_checkpoints, variant_of
    from lit_inpaint.runs.checkpoint_file import load

    models = [load(path) for path in paths]
    labels = label_checkpoints(models, paths)
    return [Network(label, variant_of(model), model, path) for label, model, path in zip(labels, models, paths, strict=True)]


def _published(network: Network, metric: str) -> dict[str, Any]:
    """What the network's own paper says, else another paper of the same network."""
    if network.variant is None:
        return {}
    own = network.model.published_in or type(network.model).__module__.rpartition(".")[2]
    elsewhere = (table.figure(network.variant, metric) for table in tables())
    figure = cost_figure(own, network.variant, metric) or next((found for found in elsewhere if found is not None), None)
    if figure is None:
        return {}
    return {"published": figure.value, "published_unit": figure.unit, "published_in": figure.source}


def _printed(network: Network, metric: str) -> str:
    """A published figure as its paper prints it, with what it is counted in."""
    found = _published(network, metric)
    return _with_unit(found["published"], found["published_unit"]) if found else "-"


def _with_unit(value: float, unit: str) -> str:
    number = f"{value:,}" if unit == "1" else str(value)
    return f"{number} {_UNITS.get(unit, unit)}".rstrip()


def _rows(network: Network, size: ModelSize, speeds: Mapping[DevicePrecision, Speed], setting: Setting) -> list[dict[str, Any]]:
    """One row per number, with the keys of an evaluation's rows; `value` is exact, a published figure keeps its own unit.

    Each `metric` stands once: "latency", "throughput" and "peak_memory" are float32 on the GPU where there is one, else on the
    CPU; others add "_cpu", "_bf16" or both.
    """
    where: dict[str, Any] = {"method": network.label, "protocol": "cost", "bucket": "all", "size": setting.size}
    if network.checkpoint is not None:
        where["checkpoint"] = str(network.checkpoint)
    numbers: list[tuple[str, float, str, int, dict[str, Any]]] = [
        ("parameters", size.parameters, "1", 1, {}),
        ("macs", size.macs, "1", 1, {}),
        ("weights_file", size.weights_file, "byte", 1, {}),
    ]
    if network.checkpoint is not None:
        numbers.append(("checkpoint_file", network.checkpoint.stat().st_size, "byte", 1, {}))
    numbers += [(part, count, "1", 1, {}) for part, count in size.parts.items()]
    first = "cuda" if any(kind.device.type == "cuda" for kind in speeds) else "cpu"
    for kind, speed in speeds.items():
        end = ("" if kind.device.type == first else "_cpu") + ("_bf16" if kind.precision == "bf16" else "")
        about = {"device": kind.device.type, "precision": kind.precision}
        numbers.append((f"peak_memory{end}", speed.peak, "byte", 1, {**about, "batch": 1}))
        for batch, timing in speed.timings.items():
            if batch == 1:
                numbers.append((f"latency{end}", timing.seconds * 1000, "ms", timing.n, {**about, "batch": batch}))
            else:
                numbers.append((f"throughput{end}", batch / timing.seconds, "images/s", timing.n, {**about, "batch": batch}))
    return [
        {**where, "metric": metric, "value": value, "unit": unit, "n": n, **about, **_published(network, metric)}
        for metric, value, unit, n, about in numbers
    ]


def _print(
    networks: Sequence[Network],
    sizes: Sequence[ModelSize],
    speeds: Mapping[DevicePrecision, Sequence[Speed]],
    setting: Setting,
    machine: str,
) -> None:
    from rich.console import Console

    console = Console()
    console.width = max(console.width, 130)  # a narrow log file would otherwise break the table, not the lines
    console.print(_size_table(networks, sizes, setting))
    console.print(_part_table(networks, sizes))
    for kind, found in speeds.items():
        console.print(_speed_table(networks, found, kind, setting, machine))
    for network in networks:
        if note := NOTES.get(network.variant or ""):
            console.print(f"{network.label}: {note}", highlight=False)


def _table(title: str, *headings: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("network")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _size_table(networks: Sequence[Network], sizes: Sequence[ModelSize], setting: Setting) -> Table:
    """LPI-Net's table 3 and the other papers' columns of parameters, with the rows of methods that are not here."""
    files = any(network.checkpoint is not None for network in networks)
    headings = ["parameters Mi", "published", "M", "multiply-adds G", "weights MiB", "published", "MB"]
    title = f"Generators, {setting.size}x{setting.size}. Mi = 2^20, M = 10^6, G = 10^9. Multiply-adds = FLOPs / 2."
    table = _table(title, *headings, *(["checkpoint MB"] if files else []))
    for network, size in zip(networks, sizes, strict=True):
        printed = [_printed(network, metric) for metric in ("parameters", "weights_file")]
        cells = [f"{size.parameters / _MEBI:.3f}", printed[0], f"{size.parameters / 1e6:.3f}"]
        cells += [f"{size.macs / 1e9:.3f}"]
        cells += [f"{size.weights_file / _MEBI:.2f}", printed[1], f"{size.weights_file / 1e6:.2f}"]
        if files:
            cells.append(f"{network.checkpoint.stat().st_size / 1e6:.2f}" if network.checkpoint is not None else "-")
        table.add_row(network.label, *cells)
    table.add_section()
    ours = _all_variants()
    read = {network.model.published_in or type(network.model).__module__.rpartition(".")[2] for network in networks}
    for paper in sorted(read):
        for published in tables(paper):
            for method in published.figures if "parameters" in published.units else ():
                figures = [published.figure(method, metric) for metric in ("parameters", "weights_file")]
                if method not in ours and any(figures):
                    shown = [_with_unit(figure.value, figure.unit) if figure is not None else "-" for figure in figures]
                    table.add_row(
                        f"{method} (published)", "-", shown[0], "-", "-", "-", shown[1], "-", *(["-"] if files else [])
                    )
    return table


def _part_table(networks: Sequence[Network], sizes: Sequence[ModelSize]) -> Table:
    """PEPSI's table, for all networks."""
    table = _table("Parameters of each part, and of all with the discriminator", "part", "parameters", "published")
    for network, size in zip(networks, sizes, strict=True):
        for number, (part, count) in enumerate(size.parts.items()):
            name = network.label if number == 0 else ""
            table.add_row(name, part, f"{count:,}", _printed(network, part), end_section=part == "total")
    return table


def _speed_table(
    networks: Sequence[Network], speeds: Sequence[Speed], kind: DevicePrecision, setting: Setting, machine: str
) -> Table:
    batch = setting.batches[kind.device.type]
    where = f"{_DEVICES[kind.device.type]}, {kind.precision}, {setting.size}x{setting.size}"
    title = f"{where} ({machine}); medians of n passes in turns"
    if not any(speed.timings for speed in speeds):
        table = _table(title, "peak memory MiB")
        for network, speed in zip(networks, speeds, strict=True):
            table.add_row(network.label, f"{speed.peak / _MEBI:.1f}")
        return table
    table = _table(title, "peak memory MiB", "ms for 1 image", "n", f"images/s at {batch}", "n", "published")
    for network, speed in zip(networks, speeds, strict=True):
        one, many = speed.timings.get(1), speed.timings.get(batch)
        cells = [f"{speed.peak / _MEBI:.1f}"]
        cells += [f"{one.seconds * 1000:.1f}", str(one.n)] if one is not None else ["-", "-"]
        cells += [f"{batch / many.seconds:.3g}", str(many.n)] if many is not None else ["-", "-"]
        table.add_row(network.label, *cells, _printed(network, "throughput"))
    return table


if __name__ == "__main__":
    entry_point.run_command(main)
