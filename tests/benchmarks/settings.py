"""Measure what each speed setting gives each network on a CPU: memory layout, allocator, compilation, bfloat16.

    OMP_NUM_THREADS=1 python tests/benchmarks/settings.py [--papers LPINet …] [--size 64] [--batch 2] [--rounds 3] […]

Each variant is a process of its own, and differs in one setting from what `fit` does by default. The processes measure one
after the other, several times; a number is the median ratio of their processor times, above 1 if the setting is faster.
"Training" is forward and backward of the generator. The seconds of a compilation are processor time, compilers included and
nothing kept from earlier compilations. `--output` receives each network's line as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "gpu"))
from training import build, make_batch, paper_names

from lit_inpaint.config.entry_point import silence_warnings, tune_malloc
from lit_inpaint.engine.inpainter import Inpainter

VARIANTS = ("default", "NCHW", "freed memory returned", "compiled", "bf16")
MODES = ("inference", "training")


def processor_time() -> float:
    """Return seconds of this process and of those that it has waited for."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def make_step(model: Inpainter, mode: str, variant: str, size: int, batch: int) -> Callable[[], None]:
    """Return what is measured."""
    given = make_batch(size, batch, "cpu", model)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=variant == "bf16")

    def infer() -> None:
        with torch.no_grad(), autocast:
            model(given["image"], given["mask"])

    def train() -> None:
        for parameter in model.generator.parameters():
            parameter.grad = None
        with autocast:
            prediction = model(given["image"], given["mask"])
            loss = sum(image.float().square().mean() for image in (prediction.image, *prediction.stages.values()))
        loss.backward()

    return infer if mode == "inference" else train


def serve(pipe: Connection, name: str, variant: str, size: int, batch: int, seconds: float) -> None:
    """Build a variant and measure it whenever the other side asks for a mode."""
    torch.set_num_threads(1)
    silence_warnings()
    if variant != "freed memory returned":
        tune_malloc()
    model = build(name, size)
    if variant == "NCHW":
        model.training_settings = type(model.training_settings)(channels_last=False)
    model.configure_model()
    if variant == "compiled":
        model.generator.compile()
    steps: dict[str, Callable[[], None]] = {}
    while mode := pipe.recv():
        model.train(mode == "training")
        first = 0.0
        try:
            if mode not in steps:
                steps[mode] = make_step(model, mode, variant, size, batch)
                begin = processor_time()
                steps[mode]()
                first = processor_time() - begin
                steps[mode]()
            count, begin = 0, processor_time()
            while count < 2 or processor_time() - begin < seconds:
                steps[mode]()
                count += 1
            pipe.send(((processor_time() - begin) / count, first))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")


def measure(name: str, size: int, batch: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure a paper's network in all variants."""
    context = multiprocessing.get_context("fork")
    processes, pipes = [], {}
    for variant in VARIANTS:
        pipes[variant], other = context.Pipe()
        processes.append(context.Process(target=serve, args=(other, name, variant, size, batch, seconds), daemon=True))
        processes[-1].start()
    found: dict[str, Any] = {"paper": name}
    for mode in MODES:
        times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        first = {}
        for _ in range(rounds):
            for variant, pipe in pipes.items():
                try:
                    pipe.send(mode)
                    answer = pipe.recv()
                except (EOFError, OSError):
                    answer = "the process died"
                if isinstance(answer, str):
                    found[f"{mode} {variant}"] = answer
                else:
                    times[variant].append(answer[0])
                    first[variant] = max(first.get(variant, 0.0), answer[1])
        default = times["default"]
        if len(default) < rounds:
            continue
        found[f"{mode} ms"] = round(1e3 * statistics.median(default), 1)
        for variant in VARIANTS[1:]:
            if len(times[variant]) == rounds:
                turned_on = variant in ("compiled", "bf16")
                ratios = [a / b if turned_on else b / a for a, b in zip(default, times[variant], strict=True)]
                found[f"{mode} {variant}"] = [round(statistics.median(ratios), 2), *(round(f(ratios), 2) for f in (min, max))]
        if "compiled" in first:
            found[f"{mode} compilation s"] = round(first["compiled"] - statistics.median(times["compiled"] or [0.0]), 1)
    for pipe in pipes.values():
        with suppress(OSError):
            pipe.send("")
    for process in processes:
        process.join()
    return found


def main(argv: list[str]) -> None:
    """Print one JSON line for each paper."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--papers", nargs="+", default=paper_names(), choices=paper_names())
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement")
    parser.add_argument("--output", type=Path, help="append the lines to this file too")
    options = parser.parse_args(argv)
    for name in options.papers:
        begin = time.perf_counter()
        found = measure(name, options.size, options.batch, options.rounds, options.seconds)
        line = json.dumps(
            {**found, "size": options.size, "batch": options.batch, "seconds": round(time.perf_counter() - begin)}
        )
        print(line, flush=True)
        if options.output:
            with options.output.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
