"""What networks cost, beside what their papers say: `python -m lit_inpaint.cost --papers LPI LPI-Large`."""

from __future__ import annotations

import difflib
import inspect
import io
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lit_inpaint import cli
from lit_inpaint.arguments import VerbParser, whole_number
from lit_inpaint.output import output_file, write_json
from lit_inpaint.published import cost_figure
from lit_inpaint.types import UserError

if TYPE_CHECKING:
    import torch

    from lit_inpaint.engine import Inpainter

_EPILOG = """
Only generators are counted, as they are what is deployed. Multiply-adds are half of the FLOPs that torch.utils.flop_counter
finds in convolutions and matrix products; activations, normalisation and resizing are not in it. The time is the median of
--runs forward passes of one square image after a warm-up, on the GPU where there is one. Mi = 2^20, M = 10^6.
"""
_MEBI = 2**20
_WARM_UP = 3
_UNITS = {"2^20": "Mi", "10^6": "M", "2^20 bytes": "MiB"}


class Network(NamedTuple):
    """A network of the table: its name, its variant's name in its paper's tables, its checkpoint where it has one."""

    label: str
    variant: str | None
    model: Inpainter
    checkpoint: Path | None = None


class Cost(NamedTuple):
    """What one generator costs.

    Attributes:
        parameters: numbers that are learnt.
        multiply_adds: for one image.
        seconds: for one image, median.
        weights_file: bytes of the state dict as `torch.save` writes it.
    """

    parameters: int
    multiply_adds: int
    seconds: float
    weights_file: int


def main(argv: list[str]) -> int:
    """Measure and print; returns the exit status."""
    parser = VerbParser("cost", "Parameters, multiply-adds, time and file size of the networks.", _EPILOG)
    parser.add_argument("--papers", metavar="NAME", nargs="+", help="classes or variants (default: all, unless --checkpoint)")
    parser.add_argument("--checkpoint", metavar="FILE", nargs="+", default=[], help=".ckpt files of runs")
    parser.add_argument("--size", metavar="PIXELS", type=whole_number(1), default=256, help="side of the image (default 256)")
    parser.add_argument("--runs", metavar="N", type=whole_number(1), default=10, help="timed passes (default 10)")
    parser.add_argument("--output", metavar="FILE.json", help="write the numbers there")
    options = parser.parse_args(argv)
    output = output_file(options.output, ".json") if options.output is not None else None

    import torch

    cli.quieten()
    cli.keep_freed_memory()
    networks = [] if options.checkpoint and options.papers is None else _networks(options.papers)
    networks += _checkpoints([Path(name) for name in options.checkpoint])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    costs = [measure(network.model, options.size, options.runs, device) for network in networks]
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    _print(networks, costs, options.size, machine)
    if output is not None:
        pairs = zip(networks, costs, strict=True)
        rows = [row for network, cost in pairs for row in _rows(network, cost, options.size, options.runs)]
        write_json(output, {"rows": rows, "machine": machine, "torch": str(torch.__version__)})
        print(f"{len(rows)} rows in {output}")
    return 0


def measure(model: Inpainter, size: int, runs: int, device: torch.device) -> Cost:
    """Count and time one forward pass of a `size` x `size` image whose middle is a hole.

    Args:
        model: a paper; it is moved to `device` and left in evaluation mode.
        size: side of the image in pixels, rounded up to what the network takes without padding.
        runs: timed passes.
        device: where.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    side = size + -size % model.multiple
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    mask = torch.zeros(1, 1, side, side, device=device)
    mask[..., side // 4 : side - side // 4, side // 4 : side - side // 4] = 1
    model.to(device).eval()
    seconds = []
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            model(image, mask)
        for _ in range(_WARM_UP + runs):
            _wait(device)
            start = time.perf_counter()
            model(image, mask)
            _wait(device)
            seconds.append(time.perf_counter() - start)
    file = io.BytesIO()
    torch.save(model.generator.state_dict(), file)
    parameters = sum(parameter.numel() for parameter in model.generator.parameters())
    return Cost(parameters, counter.get_total_flops() // 2, statistics.median(seconds[_WARM_UP:]), file.tell())


def _wait(device: torch.device) -> None:
    """Until the GPU has done what it was told."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _networks(names: Sequence[str] | None) -> list[Network]:
    """The variants of all papers, or those that are named by class or by variant."""
    from lit_inpaint import papers
    from lit_inpaint.engine import Inpainter

    listed = [getattr(papers, name) for name in papers.__all__]
    classes = [paper for paper in listed if inspect.isclass(paper) and issubclass(paper, Inpainter)]
    by_class = {paper.__name__: [(name, paper) for name in paper.published_as or (paper.__name__,)] for paper in classes}
    by_variant = {name: [(name, paper)] for variants in by_class.values() for name, paper in variants}
    known = by_variant | by_class
    wanted: dict[str, type[Inpainter]] = {}
    for name in names if names is not None else by_class:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
            raise UserError(f"no paper or variant {name!r}; the nearest are {', '.join(near)}")
        wanted.update(known[name])
    return [Network(name, name, cast(Any, paper)(**paper.published_as.get(name, {}))) for name, paper in wanted.items()]


def _checkpoints(paths: Sequence[Path]) -> list[Network]:
    from lit_inpaint.checkpoint import load
    from lit_inpaint.labels import label_checkpoints, variant_of

    models = [load(path) for path in paths]
    labels = label_checkpoints(models, paths)
    return [Network(label, variant_of(model), model, path) for label, model, path in zip(labels, models, paths, strict=True)]


def _published(network: Network, metric: str) -> dict[str, Any]:
    tables = network.model.published_in or type(network.model).__module__.rpartition(".")[2]
    figure = cost_figure(tables, network.variant, metric) if network.variant is not None else None
    if figure is None:
        return {}
    return {"published": figure.value, "published_unit": figure.unit, "published_in": figure.source}


def _printed(network: Network, metric: str) -> str:
    """A published figure as its paper prints it, with what it is counted in."""
    found = _published(network, metric)
    return f"{found['published']} {_UNITS.get(found['published_unit'], found['published_unit'])}".rstrip() if found else "-"


def _rows(network: Network, cost: Cost, size: int, runs: int) -> list[dict[str, Any]]:
    """One row per number, with the keys of an evaluation's rows; `value` is exact, a published figure keeps its own unit."""
    numbers: list[tuple[str, float, str, int]] = [
        ("parameters", cost.parameters, "1", 1),
        ("multiply_adds", cost.multiply_adds, "1", 1),
        ("latency", cost.seconds * 1000, "ms", runs),
        ("weights_file", cost.weights_file, "byte", 1),
    ]
    if network.checkpoint is not None:
        numbers.append(("checkpoint_file", network.checkpoint.stat().st_size, "byte", 1))
    where = {"method": network.label, "protocol": "cost", "bucket": "all", "size": size}
    if network.checkpoint is not None:
        where["checkpoint"] = str(network.checkpoint)
    return [
        {**where, "metric": metric, "value": value, "unit": unit, "n": n, **_published(network, metric)}
        for metric, value, unit, n in numbers
    ]


def _print(networks: Sequence[Network], costs: Sequence[Cost], size: int, machine: str) -> None:
    from rich.console import Console
    from rich.table import Table

    files = any(network.checkpoint is not None for network in networks)
    caption = "Generators only. Mi = 2^20, M = 10^6, G = 10^9. Multiply-adds = FLOPs / 2, convolutions and matrix products."
    title = f"One image of {size}x{size} on {machine}"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("network")
    headings = ["parameters Mi", "published", "M", "multiply-adds G", "ms", "weights MiB", "published", "MB"]
    for heading in headings + (["checkpoint MB"] if files else []):
        table.add_column(heading, justify="right")
    for network, cost in zip(networks, costs, strict=True):
        printed = [_printed(network, metric) for metric in ("parameters", "weights_file")]
        cells = [f"{cost.parameters / _MEBI:.3f}", printed[0], f"{cost.parameters / 1e6:.3f}"]
        cells += [f"{cost.multiply_adds / 1e9:.3f}", f"{cost.seconds * 1000:.1f}"]
        cells += [f"{cost.weights_file / _MEBI:.2f}", printed[1], f"{cost.weights_file / 1e6:.2f}"]
        if files:
            cells.append(f"{network.checkpoint.stat().st_size / 1e6:.2f}" if network.checkpoint is not None else "-")
        table.add_row(network.label, *cells)
    console = Console()
    console.width = max(console.width, 120)  # a narrow log file would otherwise break the table, not the lines
    console.print(table)


if __name__ == "__main__":
    cli.run_verb(main)
