"""Feed mutated files to the commands and readers: `python tests/fuzz/fuzz.py --cases 10000 --seed 1`; see README.md."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from random import Random
from types import FrameType
from typing import Any, NamedTuple, NoReturn

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parents[1])]
import mutations  # noqa: E402
import targets  # noqa: E402

CPU_LIMIT = 30
"""Seconds of processor time for a case; more is a hang."""
WALL_LIMIT = 240
"""Seconds after which a worker that does not answer is killed; also a hang."""
MEMORY_LIMIT = 2 * 2**30
"""Bytes that the peak of resident memory may lie above that of an idle worker."""
ADDRESS_LIMIT = 6 * 2**30
"""Bytes of address space beyond that of an idle worker; an allocation above it fails."""
OWN_SETTINGS = ("configurations", "options")
"""Targets in which users name modules of their own, which are imported as they are meant to be."""
BAD = ("fault", "hang", "memory", "half-written", "executed", "noise", "crash")


class Outcome(NamedTuple):
    """What came of a case: `ok`, `error` (one line), or one of `BAD`.

    Attributes:
        target: name of the target.
        command: the command or reader.
        kind: of the outcome.
        detail: the error's line, or the end of the traceback.
        seconds: processor time.
        megabytes: how far the peak of resident memory lay above that before the case.
    """

    target: str
    command: str
    kind: str
    detail: str
    seconds: float
    megabytes: float


class TimeLimitError(BaseException):
    """The case used more processor time than allowed."""


def choose_target(names: Sequence[str], rng: Random) -> str:
    return rng.choices(names, [targets.TARGETS[name][0] for name in names])[0]


def run_case(names: Sequence[str], seed: int, number: int, folder: Path) -> Outcome:
    """Run case `number` in this process, with its files in the empty `folder`."""
    from lit_inpaint.errors import UserError

    name, case = make_case(names, seed, number, folder)
    (folder / "command.txt").write_text(
        f"{case.command} {' '.join(map(repr, case.argv))}\n", encoding="utf-8", errors="replace"
    )
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    printed, errors = io.StringIO(), io.StringIO()
    start, peak = time.process_time(), _reset_peak()
    kind, detail = "ok", ""
    try:
        with (
            _inside(folder),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(errors),
            _cpu_limit(),
            warnings.catch_warnings(),
        ):
            if case.call is not None:
                case.call()
            else:
                status = _run_command(case)
                kind = "error" if status == 2 else "ok" if status in (0, 1) else "fault"
                detail = errors.getvalue().strip().rpartition("\n")[2] if kind != "ok" else ""
    except UserError as error:
        kind, detail = "error", str(error)
    except TimeLimitError:
        kind, detail = "hang", traceback.format_exc()
    except MemoryError:
        kind, detail = "memory", traceback.format_exc()
    except BaseException:
        kind, detail = "fault", traceback.format_exc()
    seconds, megabytes = time.process_time() - start, (_peak() - peak) / 2**20
    if kind in ("ok", "error"):
        kind, detail = _check(kind, detail, errors.getvalue(), folder, megabytes, before, name not in OWN_SETTINGS)
    return Outcome(name, case.command, kind, detail, seconds, megabytes)


def make_case(names: Sequence[str], seed: int, number: int, folder: Path) -> tuple[str, targets.Case]:
    """Make a case; where mutations do not go together, such as a tree too deep to be written, make another one."""
    for attempt in range(9):
        rng = Random(f"{seed}/{number}/{attempt}")
        name = choose_target(names, rng)
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return name, targets.TARGETS[name][1](rng, folder)
        shutil.rmtree(folder)
        folder.mkdir()
    raise RuntimeError(f"case {number} cannot be made")


def _run_command(case: targets.Case) -> int:
    """Run a command as `python -m` does; return its exit status."""
    from lit_inpaint.config.entry_point import run_command

    before, sys.argv = sys.argv, [case.command, *case.argv]
    try:
        run_command(importlib.import_module(f"lit_inpaint.{case.command}").main)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 2
    finally:
        sys.argv = before


def _check(
    kind: str, detail: str, errors: str, folder: Path, megabytes: float, before: Mapping[Path, bytes], may_not_import: bool
) -> tuple[str, str]:
    """Look for what neither the status nor an exception shows."""
    imported = sys.modules.pop(mutations.CANARY, None) is not None
    if (folder / "EXECUTED").exists() or (imported and may_not_import):
        return "executed", detail
    if megabytes > MEMORY_LIMIT / 2**20:
        return "memory", f"{megabytes:.0f} MB; {detail}"
    if kind == "error" and (not detail.strip() or "\n" in detail or "Traceback" in detail):
        return "fault", f"not one line: {detail!r}"
    for text in ("Traceback", "Exception ignored", "terminate called"):
        if text in errors:
            return "noise", errors
    if problem := _half_written(folder / "out", before):
        return "half-written", f"{problem}; {detail}"
    return kind, detail


def _half_written(folder: Path, before: Mapping[Path, bytes]) -> str:
    """Name an output that is not whole, and is not as it was before."""
    from PIL import Image

    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.name.endswith(".part"):
            return f"{path.name} is left"
        if path in before and path.read_bytes() == before[path]:
            continue
        if path.is_file() and path.suffix in (".png", ".jpg"):
            with Image.open(path) as image:
                image.load()
        elif path.is_file() and path.suffix == ".json":
            json.loads(path.read_text())
    return ""


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _cpu_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeLimitError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _reset_peak() -> int:
    """Reset the peak of resident memory to its present size, in bytes (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


@contextlib.contextmanager
def canary_module() -> Iterator[None]:
    """Put a module on the path that no file may cause to be imported, and trust the papers of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{mutations.CANARY}.py").write_text("class Evil: ...\n")
        sys.path.insert(0, folder)
        before = {name: os.environ.get(name) for name in ("LIT_INPAINT_PAPERS", "LIT_INPAINT_CACHE")}
        os.environ |= {"LIT_INPAINT_PAPERS": "tiny_gan", "LIT_INPAINT_CACHE": folder}
        try:
            yield
        finally:
            sys.path.remove(folder)
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _serve(names: Sequence[str], seed: int, keep: Path) -> None:
    """Run the cases whose numbers are read from standard input; answer each with a line of JSON."""
    import torch

    import lit_inpaint.fit  # noqa: F401 (loaded before memory is measured)
    from lit_inpaint.config import check_settings

    check_settings.build_parser()
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_LIMIT,) * 2)
    with canary_module():
        for line in sys.stdin:
            folder = Path(tempfile.mkdtemp(prefix="fuzz"))
            outcome = run_case(names, seed, int(line), folder)
            if outcome.kind in BAD:
                _keep(keep, folder, outcome, int(line))
            shutil.rmtree(folder, ignore_errors=True)
            answers.write(json.dumps(outcome) + "\n")
            answers.flush()


def _keep(keep: Path, folder: Path, outcome: Outcome, number: int) -> None:
    kept = keep / f"{outcome.kind}-{outcome.target}-{number}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept, symlinks=True, ignore_dangling_symlinks=True)
    (kept / "outcome.txt").write_text(f"{outcome.command}\n{outcome.detail}\n", encoding="utf-8", errors="replace")


class _Worker:
    """A process that runs cases; started again after a crash or a hang."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    def run(self, number: int) -> Outcome:
        if self._process is None:
            command = [sys.executable, __file__, "--serve", *self._arguments]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(WALL_LIMIT, process.kill)
        timer.start()
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        late = not timer.is_alive()
        timer.cancel()
        if answer:
            return Outcome(*json.loads(answer))
        status, self._process = process.wait(), None
        return Outcome("?", "?", "hang" if late else "crash", f"case {number}: exit status {status}", WALL_LIMIT, 0)

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases in worker processes and print the counts; exit status 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case; --cases 1 repeats it alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", default=",".join(targets.TARGETS), help="names, separated by commas")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", default="fuzz_failures", help="folder for the files of failed cases")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    names = options.target.split(",")
    keep = Path(options.keep).absolute()
    if options.serve:
        _serve(names, options.seed, keep)
        return 0
    keep.mkdir(parents=True, exist_ok=True)
    queue, outcomes, start = Queue[int](), list[tuple[int, Outcome]](), time.monotonic()
    for number in range(options.first, options.first + options.cases):
        queue.put(number)

    def stop(signal_number: int, frame: FrameType | None) -> None:
        """Leave the remaining cases out."""
        with contextlib.suppress(Empty):
            while True:
                queue.get_nowait()

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, stop)

    def work() -> None:
        worker = _Worker(["--seed", str(options.seed), "--target", options.target, "--keep", str(keep)])
        with contextlib.suppress(Empty):
            while True:
                number = queue.get_nowait()
                outcomes.append((number, worker.run(number)))
                if len(outcomes) % 250 == 0:
                    bad = sum(outcome.kind in BAD for _, outcome in outcomes)
                    print(
                        f"{len(outcomes):,} cases, {bad} failed, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True
                    )
        worker.close()

    threads = [threading.Thread(target=work) for _ in range(options.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _summarize([outcome for _, outcome in sorted(outcomes)], time.monotonic() - start)


def _summarize(outcomes: Sequence[Outcome], seconds: float) -> int:
    kinds = ("ok", "error", *BAD)
    print(f"{'target':15}" + "".join(f"{kind:>13}" for kind in kinds) + f"{'max s':>8}{'max MB':>8}")
    for name in (*targets.TARGETS, "?", "all"):
        found = [outcome for outcome in outcomes if name in ("all", outcome.target)]
        counts = Counter(outcome.kind for outcome in found)
        if found:
            print(f"{name:15}" + "".join(f"{counts[kind]:13,}" for kind in kinds), end="")
            print(f"{max(one.seconds for one in found):8.1f}{max(one.megabytes for one in found):8.0f}")
    print(f"{len(outcomes):,} cases in {seconds:.0f} s")
    failed = Counter((one.kind, one.command, _signature(one.detail)) for one in outcomes if one.kind in BAD)
    for (kind, command, signature), count in failed.most_common(60):
        print(f"{count:6} {kind} {command}: {signature}")
    return int(bool(failed))


def _signature(detail: str) -> str:
    """The last line of a traceback, and the place in the package that it came from."""
    lines = [line.strip() for line in detail.strip().splitlines()] or [""]
    places = [line for line in lines if line.startswith("File") and "lit_inpaint/" in line and "/tests/" not in line]
    place: Any = places[-1].partition("lit_inpaint/")[2].rpartition("lit_inpaint/")[2] if places else ""
    return f"{lines[-1][:150]} [{place}]"


if __name__ == "__main__":
    sys.exit(main())
