"""Print what networks cost beside what their papers state: `python -m lit_inpaint.cost --papers LPI LPI-Large`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser, whole_number
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import output_file, write_json

if TYPE_CHECKING:
    from lit_inpaint.profiling.latency import DevicePrecision, ForwardBenchmark
    from lit_inpaint.profiling.networks import Network

_EPILOG = """
Sizes, times and memory are of generators, which are what is deployed; parts are listed with their discriminators. MACs are
half of the FLOPs that torch.utils.flop_counter counts in convolutions and matrix products; activations, normalization and
resizing are not included. Times are medians of passes that are interleaved over all networks, after one to warm up for each
network and batch size: --runs of them, or as many as --seconds allow, but at least one. bf16 is autocast. Mi = 2^20, M = 10^6,
MB = 10^6 bytes.

--epoch adds the time of a training epoch in float32, on the GPU if there is one: the median time of a training step times the
steps of an epoch. Steps are of the longest training stage; loading is not included. Without --epoch_images, --epoch_batch and
--size the epoch is that of WaveMix, the paper that prints such times.
"""


def main(argv: list[str]) -> int:
    """Measure and print; returns the exit status."""
    parser = CommandParser("cost", "Parameters, MACs, memory, time and file size of networks.", _EPILOG)
    add, count = parser.add_argument, whole_number(1)
    add("--papers", metavar="NAME", nargs="+", help="classes or variants (default: all, unless --checkpoint)")
    add("--checkpoint", metavar="FILE", nargs="+", default=[], help=".ckpt files of runs")
    add("--size", metavar="PIXELS", type=count, help="side of all images (default 256; with --epoch 96)")
    add("--epoch", action="store_true", help="add the seconds of a training epoch (takes minutes on a CPU)")
    add("--epoch_images", metavar="N", type=count, help="images in an epoch (default 80000)")
    add("--epoch_batch", metavar="N", type=count, help="images in a training step (default 40)")
    add("--runs", metavar="N", type=count, default=10, help="maximum number of timed passes (default 10)")
    add("--seconds", metavar="N", type=count, default=1, help="for each network and kind of pass (default 1)")
    add("--batch_size", metavar="N", type=whole_number(2), help="for the throughput (default 2 on a CPU, 32 on a GPU)")
    bf16 = "auto: if the hardware has instructions for it; without them a pass takes tens of times as long"
    add("--bf16", choices=("auto", "always", "never"), default="auto", help=bf16)
    add("--no_timing", action="store_true", help="no latency and no throughput")
    add("--output", metavar="FILE.json", help="write the numbers to this file")
    options = parser.parse_args(argv)
    output = output_file(options.output, ".json") if options.output is not None else None
    if not options.epoch and (options.epoch_images or options.epoch_batch):
        raise UserError("--epoch_images and --epoch_batch belong to --epoch; add it, or leave them out")

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the memory profiler warns about missing GPUs
    import torch

    from lit_inpaint.profiling import cost_tables, epoch_time
    from lit_inpaint.profiling.latency import DevicePrecision, benchmark_forward, has_bf16
    from lit_inpaint.profiling.macs import count_params_macs
    from lit_inpaint.profiling.networks import build_networks

    entry_point.silence_warnings()
    entry_point.tune_malloc()
    networks = [] if options.checkpoint and options.papers is None else build_networks(options.papers)
    networks += _load_checkpoints([Path(name) for name in options.checkpoint])
    models = [network.model for network in networks]
    epoch = epoch_time.choose_epoch(options.epoch_images, options.size, options.epoch_batch) if options.epoch else None
    size = options.size or (256 if epoch is None else epoch.size)
    batches = {"cpu": options.batch_size or 2, "cuda": options.batch_size or 32}
    devices = [torch.device("cpu")] + ([torch.device("cuda")] if torch.cuda.is_available() else [])
    threads = f"CPU, {torch.get_num_threads()} threads"
    machine = f"{torch.cuda.get_device_name()}; {threads}" if len(devices) > 1 else threads

    sizes = [count_params_macs(model, size) for model in models]
    benchmarks: dict[DevicePrecision, list[ForwardBenchmark]] = {}
    not_measured = []
    for device in devices:
        name = cost_tables.DEVICE_NAMES[device.type]
        kinds = [DevicePrecision(device, "float32")]
        if options.bf16 == "always" or (options.bf16 == "auto" and has_bf16(device)):
            kinds.append(DevicePrecision(device, "bf16"))
        elif options.bf16 == "auto":
            not_measured.append(f"no bf16 on the {name}, which has no instructions for it (--bf16 always)")
        timed = [] if options.no_timing else [1, batches[device.type]]
        for kind in kinds:
            try:
                benchmarks[kind] = benchmark_forward(models, size, timed, options.runs, options.seconds, kind)
            except torch.OutOfMemoryError:
                smaller = "give a smaller --size or --batch_size, or fewer --papers"
                raise UserError(f"out of memory on the GPU at {size}x{size}; {smaller}") from None
            not_measured += _out_of_memory(networks, benchmarks[kind], timed, f"in {kind.precision} on the {name}")
    if len(devices) == 1:
        not_measured.append("no GPU here")
    costs = [
        cost_tables.cost_rows(network, sizes[number], {kind: found[number] for kind, found in benchmarks.items()}, size)
        for number, network in enumerate(networks)
    ]
    cost_tables.print_costs(networks, costs, size, machine)
    if epoch is not None:
        steps, failures = epoch_time.benchmark_epochs(networks, epoch, options.runs, options.seconds, devices[-1])
        for network, cost, step in zip(networks, costs, steps, strict=True):
            if step is not None:
                cost["epoch"] = cost_tables.epoch_row(network, step, epoch, devices[-1].type)
        not_measured += failures
        cost_tables.print_epochs(networks, costs, epoch, devices[-1].type, machine)
    for line in not_measured:
        print(f"Not measured: {line}")
    if output is not None:
        rows = [row for cost in costs for row in cost.values()]
        write_json(output, {"rows": rows, "machine": machine, "torch": str(torch.__version__), "not_measured": not_measured})
        print(f"{len(rows)} rows in {output}")
    return 0


def _out_of_memory(
    networks: Sequence[Network], benchmarks: Sequence[ForwardBenchmark], batches: Sequence[int], where: str
) -> list[str]:
    """A line for each batch size that did not fit the GPU's memory."""
    lines = []
    for batch in batches:
        labels = [
            network.label for network, benchmark in zip(networks, benchmarks, strict=True) if batch not in benchmark.timings
        ]
        if labels:
            images, option = ("1 image", "size") if batch == 1 else (f"{batch} images", "batch_size")
            lines.append(f"{', '.join(labels)} with {images} {where}, out of memory; give a smaller --{option}")
    return lines


def _load_checkpoints(paths: Sequence[Path]) -> list[Network]:
    from lit_inpaint.evaluation.method_labels import label_checkpoints, variant_of
    from lit_inpaint.profiling.networks import Network
    from lit_inpaint.runs.checkpoint_file import load

    models = [load(path) for path in paths]
    labels = label_checkpoints(models, paths)
    return [Network(label, variant_of(model), model, path) for label, model, path in zip(labels, models, paths, strict=True)]


if __name__ == "__main__":
    entry_point.run_command(main)
