"""Detect a hanging or dead process of a run, name it, and end all processes."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_inpaint.storage.atomic_write import atomic_write

EXIT_STATUS = 75
"""Exit status of a run that the watchdog ended (EX_TEMPFAIL of sysexits.h: try again)."""

FIRST_BATCH_FACTOR = 3
"""Timeout factor for the first batch of a start: workers start, kernels are selected and compiled."""

_ACTIVITY_OF_FUNCTION = {
    "save_checkpoint": "saving a checkpoint",
    "validation_step": "validation",
    "on_validation_batch_end": "validation",
    "on_validation_epoch_end": "validation",
    "on_validation_end": "validation",
    "training_step": "training step",
    "train_dataloader": "starting the loader",
}
"""Activity of a process whose main thread has this function on its stack, the innermost first."""

_ACTIVITY_OF_FILE = {
    "loops/fetchers.py": "loading a batch",
    "utils/data/dataloader.py": "loading a batch",
    "loops/evaluation_loop.py": "validation",
    "loops/training_epoch_loop.py": "training step",
}
"""The same for files of Lightning and torch, where no such function is on the stack."""


@dataclass(frozen=True)
class Heartbeat:
    """State of a process, written to `ranks/<rank>.json` every few seconds.

    Attributes:
        rank: global rank.
        host: host name.
        pid: process id on the host.
        step: number of trained batches.
        activity: current activity, in words.
        waiting: whether the process waits for others, as far as its stack shows that.
        progress: counter of training and validation batches; it stays the same in a process that makes no progress.
        beat: counter of heartbeats; it stays the same in a process that has ended or of which no thread runs.
    """

    rank: int
    host: str
    pid: int
    step: int
    activity: str
    waiting: bool
    progress: int
    beat: int


class Watchdog(Callback):
    """Ends a run on several processes that makes no progress, and names the hanging process.

    A thread of each process writes its state to a file in the run directory, which all processes share. Rank 0 and the last
    rank read all of these files. After `watchdog_timeout` seconds in which no process made progress, each writes its Python
    stacks to `ranks/<rank>.stack`, one prints a line with the stragglers, and all exit with status 75. The last checkpoint
    stays. Every validation batch counts as progress. A run on one process is not watched.

    Args:
        folder: for the files; created when it is needed.
        watchdog_timeout: seconds without progress, 0 for no watchdog. NCCL times out after 600, without naming the process.
        last: the checkpoint to resume from, for the message.
    """

    def __init__(self, folder: Path, watchdog_timeout: float, last: Path) -> None:
        self.folder = folder
        self.watchdog_timeout = watchdog_timeout
        self.last = last
        self._step = 0
        self._progress = 0
        self._trained = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._training_thread = threading.get_ident()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Stop the thread, which `on_fit_start` starts, at the end of the block around `trainer.fit`."""
        try:
            yield
        finally:
            self._over.set()
            if self._thread is not None:
                self._thread.join(timeout=30)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the thread. The barrier ensures that no process reads the files of an earlier start."""
        if trainer.world_size == 1 or self.watchdog_timeout <= 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (f"{trainer.global_rank}.json", f"{trainer.global_rank}.stack", "hung.json"):
            (self.folder / name).unlink(missing_ok=True)
        self._step, self._training_thread = trainer.global_step, threading.get_ident()
        self._write(self._heartbeat(trainer.global_rank, 0))
        trainer.strategy.barrier("watchdog")
        children = getattr(trainer.strategy.launcher, "procs", [])
        self._thread = threading.Thread(
            target=self._watch, args=(trainer.global_rank, trainer.world_size, children), name="watchdog", daemon=True
        )
        self._thread.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count progress."""
        self._count(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count progress; the slow first batch is over."""
        self._trained = True
        self._count(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count progress."""
        self._count(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count progress."""
        self._count(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count progress."""
        self._count(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop watching: no process waits for another any more."""
        self._over.set()

    def _count(self, trainer: Trainer) -> None:
        self._step = trainer.global_step
        self._progress += 1

    def _watch(self, rank: int, world: int, children: list[Any]) -> None:
        """Run the thread."""
        watches = rank in (0, world - 1)
        interval = max(0.2, min(5.0, self.watchdog_timeout / 10))
        seen: dict[int, Heartbeat] = {}
        # Times of each process's newest heartbeat, and of the last progress of any, all by this process's clock.
        heartbeat_at: dict[int, float] = {}
        progress_at = time.monotonic()
        beat, own = 0, (0, progress_at)
        with (self.folder / f"{rank}.stack").open("w") as stack:
            while not self._over.is_set():
                beat += 1
                now = time.monotonic()
                self._write(self._heartbeat(rank, beat))
                for other, heartbeat in _read(self.folder, range(world) if watches else ()):
                    before = seen.get(other)
                    if before is None or heartbeat.beat != before.beat:
                        heartbeat_at[other] = now
                    if before is None or heartbeat.progress != before.progress:
                        progress_at = now
                    seen[other] = heartbeat
                timeout = self.watchdog_timeout * (1 if self._trained else FIRST_BATCH_FACTOR)
                # C code writes the stack where no thread can run, since one holds the interpreter's lock.
                if self._progress != own[0]:
                    own = (self._progress, now)
                faulthandler.dump_traceback_later(max(own[1] + timeout - now, 0) + 2 * interval, file=stack)
                marker = self.folder / "hung.json"
                # Rank 0 prints the message if it can; the last rank leaves it a little time.
                overdue = now - progress_at - timeout - (2 * interval if rank > 0 else 0)
                if not (watches and overdue > 0) and not marker.exists():
                    self._over.wait(interval)
                    continue
                faulthandler.cancel_dump_traceback_later()
                others, children[:] = children[:], []  # Lightning would kill this process because of theirs in this list
                faulthandler.dump_traceback(stack)
                stack.flush()
                if _is_first(marker):
                    silent = {other for other in range(world) if now - heartbeat_at.get(other, progress_at) > timeout / 2}
                    time.sleep(4 * interval)  # for the other stacks
                    print(f"error: {self._message(seen, silent, now - progress_at)}", file=sys.stderr, flush=True)
                    _cancel_slurm_step()
                _exit(others, 3 * interval)
        faulthandler.cancel_dump_traceback_later()
        (self.folder / f"{rank}.stack").unlink(missing_ok=True)

    def _heartbeat(self, rank: int, beat: int) -> Heartbeat:
        activity, waiting = current_activity(sys._current_frames().get(self._training_thread))
        return Heartbeat(rank, socket.gethostname(), os.getpid(), self._step, activity, waiting, self._progress, beat)

    def _write(self, heartbeat: Heartbeat) -> None:
        file = self.folder / f"{heartbeat.rank}.json"
        with suppress(OSError), atomic_write(file) as part:  # a full disk is reported where a write is needed
            part.write_text(json.dumps(asdict(heartbeat)))

    def _message(self, seen: Mapping[int, Heartbeat], silent: set[int], seconds: float) -> str:
        named = sorted(silent & seen.keys())
        causes = [
            f"process {rank} ({seen[rank].host}, pid {seen[rank].pid}) has ended or is stuck: no heartbeat since "
            f"step {seen[rank].step + 1}, {seen[rank].activity}"
            for rank in named
        ]
        if not causes:
            late = stragglers(seen.values())
            named = [heartbeat.rank for heartbeat in late]
            causes = [
                f"process {heartbeat.rank} ({heartbeat.host}, pid {heartbeat.pid}) is behind, in step {heartbeat.step + 1}, "
                f"{heartbeat.activity}"
                for heartbeat in late
            ]
        files = [file for rank in named[:4] if (file := self.folder / f"{rank}.stack").is_file() and file.stat().st_size]
        stacks = f" (stack: {', '.join(map(str, files))})" if files else ""
        next_start = f"resumes from {self.last}" if self.last.is_file() else "starts from the beginning"
        return (
            f"no progress for {seconds:.0f} s: {'; '.join(causes)}{stacks}. All processes end; the same command {next_start}. "
            "--watchdog_timeout SECONDS sets the limit, 0 none"
        )


def stragglers(heartbeats: Iterable[Heartbeat]) -> list[Heartbeat]:
    """Return the processes that the others wait for: those in the earliest step that do not wait themselves, else all of it."""
    heartbeats = sorted(heartbeats, key=lambda heartbeat: heartbeat.rank)
    earliest = [one for one in heartbeats if one.step == min(other.step for other in heartbeats)]
    return [heartbeat for heartbeat in earliest if not heartbeat.waiting] or earliest


def current_activity(frame: FrameType | None) -> tuple[str, bool]:
    """Describe what the thread with this innermost frame does, and return whether it waits for other processes."""
    frames = []
    while frame is not None:
        frames.append((frame.f_code.co_filename.replace(os.sep, "/"), frame.f_code.co_name))
        frame = frame.f_back
    waiting = any("torch/distributed/" in file or name == "_engine_run_backward" for file, name in frames[:8])
    waiting |= frames[:1] != [] and frames[0][0].endswith("torch/nn/parallel/distributed.py")
    by_name = (_ACTIVITY_OF_FUNCTION[name] for _, name in frames if name in _ACTIVITY_OF_FUNCTION)
    by_file = (activity for file, _ in frames for suffix, activity in _ACTIVITY_OF_FILE.items() if file.endswith(suffix))
    return next(by_name, None) or next(by_file, "between two batches"), waiting


def _read(folder: Path, ranks: Iterable[int]) -> Iterator[tuple[int, Heartbeat]]:
    for rank in ranks:
        with suppress(OSError, ValueError, TypeError):
            yield rank, Heartbeat(**json.loads((folder / f"{rank}.json").read_text()))


def _is_first(marker: Path) -> bool:
    """Return whether this process is the first to detect that the run hangs."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def _cancel_slurm_step(environment: Mapping[str, str] = os.environ) -> None:
    """Let SLURM kill all processes that srun started, including those that cannot end themselves."""
    job, step = environment.get("SLURM_JOB_ID"), environment.get("SLURM_STEP_ID")
    if job is not None and step is not None:
        with suppress(OSError):
            subprocess.Popen(["scancel", "--signal=KILL", f"{job}.{step}"], stdin=subprocess.DEVNULL, start_new_session=True)


def _exit(children: list[Any], timeout_s: float) -> None:
    """End the processes that Lightning started beside this one, then this one, whose main thread hangs."""
    for child in children:
        if isinstance(child, subprocess.Popen):
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout_s)
            with suppress(OSError):
                child.send_signal(signal.SIGKILL)
    sys.stdout.flush()
    os._exit(EXIT_STATUS)
