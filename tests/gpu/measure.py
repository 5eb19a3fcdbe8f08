"""Measure training, data loading, evaluation and inference on one GPU, within a time budget.

    python tests/gpu/measure.py [--device cuda] [--seconds 460] [--output DIR] [--only NAME …] [--public DIR] [--quick]

Measurements run in order of importance. One that fails or lasts too long is recorded, and the next one starts. `results.json`
in the output folder (default: $OUT, else a new temporary folder) is complete after each of them. `--tests` appends the test
suite, which is not part of the budget. `--list` prints the names of all measurements. `--public` names a folder with the files
of public code, such as `deepfill/model/networks.py`, which are measured beside ours.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

START = time.monotonic()
sys.path.insert(0, str(Path(__file__).parent))


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
    """

    device: str
    quick: bool
    output: Path
    scratch: Path
    workers: int
    public: Path | None = None
    started: float = field(default_factory=lambda: START)


@dataclass(frozen=True)
class Measurement:
    """A named measurement: `run` returns numbers for the JSON file; `limit` is its maximum number of seconds."""

    name: str
    run: Callable[[Setup], dict[str, Any]]
    limit: float = 60


class Results:
    """Collects results and writes the file after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {"results": {}, "failed": {}, "not_started": []}

    def write(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.content, indent=1, default=str))
        part.replace(self.path)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread after `seconds`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def short(value: object) -> str:
    """Format a result for one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {short(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{len(value)}]"
    return str(value)


def run(measurements: list[Measurement], setup: Setup, results: Results, seconds: float) -> None:
    """Run measurements until `seconds` after the start of the script."""
    import torch

    for measurement in measurements:
        left = seconds - (time.monotonic() - START)
        if left < 2:
            results.content["not_started"].append(measurement.name)
            continue
        begin = time.monotonic()
        try:
            with time_limit(min(measurement.limit * (1 if setup.device == "cuda" else 6), left)):
                found = measurement.run(setup)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit of a command: nothing may end the other measurements
            lines = traceback.format_exception(error)
            broken = setup.device == "cuda" and any(
                word in str(error) for word in ("CUDA error", "cuDNN error", "CUBLAS_STATUS")
            )
            results.content["failed"][measurement.name] = {
                "error": f"{type(error).__name__}: {error}",
                "traceback": lines[-12:],
            }
            print(f"FAILED {measurement.name}: {type(error).__name__}: {str(error)[:300]}")
        else:
            broken = False
            results.content["results"][measurement.name] = found
            print(f"{measurement.name}: {short(found)[:400]}")
        results.content.setdefault("seconds", {})[measurement.name] = round(time.monotonic() - begin, 2)
        results.write()
        if broken:  # every later call would fail in this process
            left = seconds - (time.monotonic() - START)
            os.execv(
                sys.executable, [sys.executable, __file__, *sys.argv[1:], "--after", str(results.path), f"--seconds={left}"]
            )
        if setup.device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.empty_cache()
    results.content["total_seconds"] = round(time.monotonic() - START, 1)
    results.write()


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
    parser.add_argument("--after", type=Path, metavar="results.json", help="add to this file what it does not have yet")
    parser.add_argument("--list", action="store_true", help="print the names of all measurements")
    options = parser.parse_args(argv)
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

    import inference
    import public
    import suite
    import training

    from lit_inpaint.config.entry_point import silence_warnings, tune_malloc
    from lit_inpaint.data.workers import available_cores

    silence_warnings()
    tune_malloc()
    measurements = [
        Measurement("environment", inference.environment, 20),
        *(Measurement(f"train/{name}/64", call, 25) for name, call in training.measure_papers(64, 64)),
        Measurement("host_synchronizations", training.host_synchronizations, 40),
        Measurement("resume", training.resume, 40),
        Measurement("fit/64", training.fit_end_to_end(64, 64), 40),
        Measurement("fit/ddp_nccl", training.fit_ddp, 40),
        Measurement("loader/64", inference.loader(64, 64), 20),
        Measurement("loader/256", inference.loader(256, 16), 20),
        *(Measurement(f"train/{name}/256", call, 25) for name, call in training.measure_papers(256, 16)),
        Measurement("fit/256", training.fit_end_to_end(256, 16), 40),
        Measurement("evaluation", inference.evaluation, 40),
        *(Measurement(f"latency/{name}", call, 15) for name, call in inference.latencies()),
        Measurement("compile/UNet", training.compiled("UNet"), 60),
        Measurement("compile/LPINet", training.compiled("LPINet"), 60),
        *(Measurement(f"public/{name}", call, 30) for name, call in public.comparisons()),
        Measurement("profile", training.profile_step, 30),
        Measurement("sync_batchnorm", training.sync_batchnorm_parity, 60),
        *(
            Measurement(f"compile/{name}", training.compiled(name), 60)
            for name in training.paper_names()
            if name not in ("UNet", "LPINet")
        ),
    ]
    chosen = [m for m in measurements if not options.only or m.name.startswith(tuple(options.only))]
    chosen = [m for m in chosen if not (options.skip and m.name.startswith(tuple(options.skip)))]
    if options.list:
        print(*(measurement.name for measurement in chosen), sep="\n")
        return 0
    output = options.output or Path(os.environ.get("OUT") or tempfile.mkdtemp(prefix="lit_inpaint_gpu_"))
    output.mkdir(parents=True, exist_ok=True)
    results = Results(output / "results.json")
    if options.after:
        results.content |= json.loads(options.after.read_text()) | {"not_started": []}
        chosen = [m for m in chosen if m.name not in results.content["results"] | results.content["failed"]]
    with tempfile.TemporaryDirectory(prefix="lit_inpaint_gpu_") as scratch:
        workers = 2 if options.quick else max(1, available_cores() - 2)
        setup = Setup(options.device, options.quick, output, Path(scratch), workers, options.public)
        run(chosen, setup, results, options.seconds)
        if options.tests:
            begin = time.monotonic()
            run(
                [
                    Measurement("tests/cuda", suite.on_device, options.tests),
                    Measurement("tests/cpu", suite.on_cpu(begin, options.tests), 1e6),
                ],
                setup,
                results,
                begin - START + options.tests,
            )
    content = results.content
    print(
        f"{len(content['results'])} measured, {len(content['failed'])} failed, {len(content['not_started'])} not started "
        f"({' '.join(content['not_started'])}) in {time.monotonic() - START:.0f} s: {results.path}"
    )
    return 1 if content["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
