"""Measure training, data loading, evaluation and inference on one GPU, within a time budget.

    python tests/gpu/measure.py [--device cuda] [--seconds 460] [--output DIR] [--only NAME …] [--public DIR] [--quick]

Measurements start in order of importance, each in a process of its own, several at a time: they build networks and import
libraries side by side, and take turns on the GPU where time is measured (see gpu_lock.py). One that fails or lasts too long is
recorded, and the others go on. `results.json` in the output folder (default: $OUT, else a new temporary folder) is complete
after each of them. `--tests` appends the test suite, which is not part of the budget. `--list` prints the names of all
measurements. `--public` names a folder with the files of public code, such as `deepfill/model/networks.py`, which are measured
beside ours.

Each measurement runs on a CPU too, but these numbers need a GPU:

    environment                matrix products, name and libraries of the GPU: left out
    train, train_fp16, public  peak memory: null; with `--quick`, all images are small
    host_synchronizations      waits of the host; in their place, values read from tensors are counted
    fit, longer                GPU utilization: null
    fit/ddp_nccl               NCCL; the process uses gloo
    loader                     pinned memory: false
    cpu_difference             0: the CPU is compared with itself
    profile                    operators' time on the CPU
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

START = time.monotonic()
sys.path.insert(0, str(Path(__file__).parent))

from gpu_lock import GPULock  # noqa: E402  a file beside this one

Found = dict[str, Any]


@dataclass
class Setup:
    """What every measurement needs.

    Attributes:
        device: "cuda" or "cpu".
        quick: least work that still runs every line.
        output: folder for results.
        scratch: folder for runs and generated images.
        workers: number of loader processes.
        public: folder with public code, in folders named as in `tests/benchmarks/public_code.py`; None: not measured.
        threads: of each measurement, on the CPU.
        name: of the measurement.
    """

    device: str
    quick: bool
    output: Path
    scratch: Path
    workers: int
    public: Path | None = None
    threads: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        self.lock = GPULock(self.scratch / "gpu.lock", 40 if self.device == "cuda" else 400)

    @property
    def file(self) -> Path:
        """Return the file with the result of the measurement."""
        return self.scratch / f"{self.name.replace('/', '+')}.json"

    def report(self, found: Found) -> None:
        """Keep numbers that were found so far, in case the measurement does not end."""
        self.write({"partial": found})

    def write(self, content: Found) -> None:
        """Write the result of the measurement."""
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({**content, "gpu": self.lock.held_seconds}, indent=1, default=str))
        part.replace(self.file)


@dataclass(frozen=True)
class Measurement:
    """A named measurement.

    Attributes:
        name: in the JSON file.
        run: returns numbers for the JSON file.
        limit: maximum seconds, waiting for the GPU included.
        pool: which of the two sets of processes runs it; a "background" measurement mostly waits for compilers.
    """

    name: str
    run: Callable[[Setup], Found]
    limit: float = 120
    pool: Literal["timed", "background"] = "timed"


class Results:
    """Collects results and writes the file after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: Found = {"results": {}, "failed": {}, "not_started": [], "seconds": {}, "gpu_seconds": {}}

    def add(self, setup: Setup, begin: float, error: str | None) -> None:
        """Take over what a measurement has written, and `error` if it did not end by itself."""
        told = json.loads(setup.file.read_text()) if setup.file.exists() else {}
        found = told.get("found") or told.get("partial")
        failure = told.get("failed") or ({"error": error or "its process ended"} if "found" not in told else None)
        if found is not None:
            self.content["results"][setup.name] = found
            print(f"{setup.name}: {short(found)[:400]}", flush=True)
        if failure is not None:
            self.content["failed"][setup.name] = failure
            print(f"FAILED {setup.name}: {failure['error'][:300]}", flush=True)
        self.content["seconds"][setup.name] = [round(begin - START, 1), round(time.monotonic() - START, 1)]
        self.content["gpu_seconds"][setup.name] = round(told.get("gpu", 0.0), 2)
        self.write()

    def write(self) -> None:
        """Write the file."""
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.content, indent=1, default=str))
        part.replace(self.path)


def short(value: object) -> str:
    """Format a result for one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {short(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{len(value)}]"
    return str(value)


def catalog() -> list[Measurement]:
    """Return all measurements in order of importance."""
    import inference
    import public
    import training

    papers = training.paper_names()
    first_to_compile = ["UNet", "LPINet", "PConv", "DeepFillV2", "LaMa"]
    return [
        Measurement("environment", inference.environment),
        *(Measurement(f"train/{name}/64", call) for name, call in training.measure_papers(64, 64)),
        *(Measurement(f"train/{name}/256", call) for name, call in training.measure_papers(256, 16)),
        *(Measurement(f"public/{name}", call) for name, call in public.comparisons()),
        *(Measurement(f"host_synchronizations/{name}", call) for name, call in training.host_synchronizations()),
        *(Measurement(f"resume/{name}", call) for name, call in training.resume()),
        *(Measurement(f"fit/ddp_nccl/{name}", training.fit_ddp(name)) for name in ("lpi_net", "unet")),
        *(Measurement(f"fit/64/{name}", training.fit_end_to_end(name, 64, 64)) for name in ("lpi_net", "unet")),
        *(Measurement(f"compile/{name}", training.compiled(name), pool="background") for name in first_to_compile),
        *(Measurement(f"latency/{name}", call) for name, call in inference.latencies()),
        Measurement("evaluation", inference.evaluation),
        Measurement("sync_batchnorm", training.sync_batchnorm_parity),
        Measurement("loader/64", inference.loader(64, 64)),
        Measurement("loader/256", inference.loader(256, 16)),
        Measurement("profile", training.profile_step),
        *(Measurement(f"train_fp16/{name}/64", call) for name, call in training.measure_papers(64, 64, ("16-mixed",))),
        *(Measurement(f"cpu_difference/{name}", call) for name, call in training.cpu_differences()),
        *(
            Measurement(f"compile/{name}", training.compiled(name), pool="background")
            for name in papers
            if name not in first_to_compile
        ),
        # What is left of the time trains the benchmark's networks for longer.
        *(
            Measurement(f"longer/{name}", training.fit_end_to_end(f"networks/{name}", 64, 64, 1000), limit=300)
            for name in (
                "residual_unet",
                "pconv",
                "unet",
                "deepfill_v2",
                "lama",
                "pepsi",
                "lpi_net",
                "glcic",
                "wavemix",
                "deepgin",
            )
        ),
    ]


def work(setup: Setup) -> None:
    """Run one measurement in this process and write its result."""
    os.setpgrp()  # so that loader processes and compilers can be ended with it
    log = os.open(setup.file.with_suffix(".log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        prepare(setup.threads)
        measurement = next(measurement for measurement in catalog() if measurement.name == setup.name)
        setup.write({"found": measurement.run(setup)})
    except BaseException as error:  # also SystemExit of a command
        told = json.loads(setup.file.read_text()) if setup.file.exists() else {}
        failed = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exception(error)[-12:]}
        setup.write({**told, "failed": failed})
    sys.stdout.flush()
    os._exit(0)  # without the destructors of CUDA and NCCL, which take time or wait for each other


def prepare(threads: int) -> None:
    """Set this process up as the commands do."""
    import torch

    from lit_inpaint.config.entry_point import silence_warnings, tune_malloc

    silence_warnings()
    tune_malloc()
    torch.set_num_threads(threads)


@dataclass
class Running:
    """A measurement and its process."""

    measurement: Measurement
    setup: Setup
    process: BaseProcess
    begin: float

    def end(self) -> None:
        """End the process and those that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()


def run(measurements: list[Measurement], setup: Setup, results: Results, seconds: float, sizes: dict[str, int]) -> None:
    """Run measurements until `seconds` after the start of the script, at most `sizes` of each pool at a time."""
    context: Any = multiprocessing.get_context("fork")  # CUDA allows it as long as this process does not use the GPU
    waiting, running = list(measurements), list[Running]()
    try:
        while waiting or running:
            left = seconds - (time.monotonic() - START)
            for other in list(running):
                overdue = time.monotonic() - other.begin > other.measurement.limit * (1 if setup.device == "cuda" else 20)
                error = f"stopped after {time.monotonic() - other.begin:.0f} s" if overdue or left < 1 else None
                if other.process.is_alive() and error is None:
                    continue
                other.end()
                running.remove(other)
                if "forked subprocess" in (other.setup.file.read_text() if other.setup.file.exists() else ""):
                    other.setup.file.unlink()
                    context = multiprocessing.get_context("spawn")
                    waiting.insert(0, other.measurement)
                    continue
                results.add(other.setup, other.begin, error)
            if left < 3:
                results.content["not_started"] += [measurement.name for measurement in waiting]
                waiting.clear()
            for measurement in startable(waiting, running, sizes):
                own = Setup(**{**vars_of(setup), "name": measurement.name})
                process = context.Process(target=work, args=(own,))
                process.start()
                running.append(Running(measurement, own, process, time.monotonic()))
                waiting.remove(measurement)
            time.sleep(0.05)
    finally:
        for other in running:
            other.end()
    results.content["total_seconds"] = round(time.monotonic() - START, 1)
    results.write()


def vars_of(setup: Setup) -> Found:
    """Return the constructor's arguments."""
    return {name: value for name, value in vars(setup).items() if name != "lock"}


def startable(waiting: list[Measurement], running: list[Running], sizes: dict[str, int]) -> list[Measurement]:
    """Return the next measurements for which there is room; the background starts after all timed ones before it."""
    room = {pool: size - sum(other.measurement.pool == pool for other in running) for pool, size in sizes.items()}
    found: list[Measurement] = []
    for measurement in waiting:
        if room[measurement.pool] > 0:
            found.append(measurement)
            room[measurement.pool] -= 1
        elif measurement.pool == "timed":
            break
    return found


def main(argv: list[str]) -> int:
    """Measure; returns the exit status, 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=460, help="budget of the whole script, imports included")
    parser.add_argument("--output", type=Path, help="folder for results.json and contact_sheet.png")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="measurements whose names start with these")
    parser.add_argument("--skip", nargs="+", default=[], metavar="NAME", help="leave out those whose names start with these")
    parser.add_argument("--quick", action="store_true", help="least work that still runs every line")
    parser.add_argument("--public", type=Path, metavar="DIR", help="folder with public code, see tests/gpu/public.py")
    parser.add_argument("--tests", type=float, default=0, metavar="SECONDS", help="then run the test suite for so long")
    parser.add_argument("--processes", type=int, default=5, help="measurements at a time, and as many compilations")
    parser.add_argument("--list", action="store_true", help="print the names of all measurements")
    options = parser.parse_args(argv)
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

    import suite
    import training

    from lit_inpaint.data.workers import available_cores

    prepare(1)  # a process with threads of its own must not be forked
    chosen = [m for m in catalog() if not options.only or m.name.startswith(tuple(options.only))]
    chosen = [m for m in chosen if not (options.skip and m.name.startswith(tuple(options.skip)))]
    if options.list:
        print(*(measurement.name for measurement in chosen), sep="\n")
        return 0
    output = options.output or Path(os.environ.get("OUT") or tempfile.mkdtemp(prefix="lit_inpaint_gpu_"))
    output.mkdir(parents=True, exist_ok=True)
    results = Results(output / "results.json")
    cores = available_cores()
    size = max(1, min(options.processes, cores // 3))
    with tempfile.TemporaryDirectory(prefix="lit_inpaint_gpu_", ignore_cleanup_errors=True) as scratch:
        workers = 2 if options.quick else max(1, cores - 4)
        setup = Setup(options.device, options.quick, output, Path(scratch), workers, options.public, max(1, cores // 8))
        run(chosen, setup, results, options.seconds, {"timed": size, "background": size})
        with (output / "processes.log").open("a") as log:
            for file in sorted(Path(scratch).glob("*.log")):
                log.write(f"== {file.stem}\n{file.read_text(errors='replace')[-4000:]}\n")
        training.contact_sheet(output)
        if options.tests:
            for name, call in (("tests/cuda", suite.on_device), ("tests/cpu", suite.on_cpu)):
                left = options.tests - (time.monotonic() - START - results.content["total_seconds"])
                if left > 5:
                    results.content["results"][name] = call(setup, left)
                    results.write()
    content = results.content
    print(
        f"{len(content['results'])} measured, {len(content['failed'])} failed, {len(content['not_started'])} not started "
        f"({' '.join(content['not_started'])}) in {time.monotonic() - START:.0f} s: {results.path}"
    )
    return 1 if content["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
