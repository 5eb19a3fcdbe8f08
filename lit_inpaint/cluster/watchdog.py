"""Several processes of which one hangs or dies: found out by the others, named, ended."""

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

STATUS = 75
"""Exit status of a run that was ended because it hung (EX_TEMPFAIL of sysexits.h: try again)."""

FIRST = 3
"""The first batch of a start may take so many times as long: workers start, kernels are chosen and compiled."""

_DOING = {
    "save_checkpoint": "saving a checkpoint",
    "validation_step": "validation",
    "on_validation_batch_end": "validation",
    "on_validation_epoch_end": "validation",
    "on_validation_end": "validation",
    "training_step": "training step",
    "train_dataloader": "starting the loader",
}
"""What a function on the stack of the main thread says about its process, the innermost first."""

_FILES = {
    "loops/fetchers.py": "loading a batch",
    "utils/data/dataloader.py": "loading a batch",
    "loops/evaluation_loop.py": "validation",
    "loops/training_epoch_loop.py": "training step",
}
"""The same for files of Lightning and torch, where no such function is on the stack."""


@dataclass(frozen=True)
class Heartbeat:
    """What a process says of itself every few seconds, in `ranks/<rank>.json`.

    Attributes:
        rank: of the process.
        host: its machine.
        pid: its number there.
        step: batches trained.
        doing: in words.
        waiting: for the other processes, as far as its stack shows that.
        progress: counts batches, of training and validation; a process whose number stays makes none.
        beat: counts what it has said; a process that says nothing new is gone, or so stuck that no thread of it runs.
    """

    rank: int
    host: str
    pid: int
    step: int
    doing: str
    waiting: bool
    progress: int
    beat: int


class Watchdog(Callback):
    """Ends a run of several processes that makes no progress, and says which process is to blame.

    Each process notes where it stands, and a thread of it writes that to a file in the run folder, which all share. The first
    and the last process read all of these files. Where no process made progress for `watchdog_timeout` seconds, each writes its
    Python stacks to `ranks/<rank>.stack`, one prints a line with those that are behind, and all exit with status 75. The last
    checkpoint stays.
    A validation makes progress with every batch. A run on one process is not watched.

    Args:
        folder: for the files, made when it is needed.
        watchdog_timeout: seconds without progress, 0 for no watch. NCCL gives up by itself after 600, and does not say who it was.
        last: the checkpoint to go on from, for the message.
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

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around `trainer.fit`: the thread, which starts with the training, ends with this."""
        try:
            yield
        finally:
            self._over.set()
            if self._thread is not None:
                self._thread.join(timeout=30)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to watch. No process is further than this before all are here, so nobody reads what an earlier start left."""
        if trainer.world_size == 1 or self.watchdog_timeout <= 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (f"{trainer.global_rank}.json", f"{trainer.global_rank}.stack", "hung.json"):
            (self.folder / name).unlink(missing_ok=True)
        self._step = trainer.global_step
        self._say(_own(trainer.global_rank, self._step, 0, 0))
        trainer.strategy.barrier("watchdog")
        children = getattr(trainer.strategy.launcher, "procs", [])
        self._thread = threading.Thread(
            target=self._watch, args=(trainer.global_rank, trainer.world_size, children), name="watchdog", daemon=True
        )
        self._thread.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Progress."""
        self._note(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Progress, and the slow first batch is over."""
        self._trained = True
        self._note(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Progress."""
        self._note(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Progress."""
        self._note(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Progress."""
        self._note(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nobody waits for anybody any more."""
        self._over.set()

    def _note(self, trainer: Trainer) -> None:
        self._step = trainer.global_step
        self._progress += 1

    def _watch(self, rank: int, world: int, children: list[Any]) -> None:
        """The thread's whole life."""
        watches = rank in (0, world - 1)
        interval = max(0.2, min(5.0, self.watchdog_timeout / 10))
        seen: dict[int, Heartbeat] = {}
        news: dict[int, float] = {}  # when a process last said something, and when one last made progress: by this clock alone
        moved = time.monotonic()
        beat, own = 0, (0, moved)
        with (self.folder / f"{rank}.stack").open("w") as stack:
            while not self._over.is_set():
                beat += 1
                now = time.monotonic()
                self._say(_own(rank, self._step, self._progress, beat))
                for other, said in _read(self.folder, range(world) if watches else ()):
                    before = seen.get(other)
                    if before is None or said.beat != before.beat:
                        news[other] = now
                    if before is None or said.progress != before.progress:
                        moved = now
                    seen[other] = said
                patience = self.watchdog_timeout * (1 if self._trained else FIRST)
                # Should no thread run any more, since somebody keeps the interpreter's lock, C code writes the stack.
                if self._progress != own[0]:
                    own = (self._progress, now)
                faulthandler.dump_traceback_later(max(own[1] + patience - now, 0) + 2 * interval, file=stack)
                marker = self.folder / "hung.json"
                # The first process speaks, if it can; the others leave it a little time.
                late = now - moved - patience - (2 * interval if rank > 0 else 0)
                if not (watches and late > 0) and not marker.exists():
                    self._over.wait(interval)
                    continue
                faulthandler.cancel_dump_traceback_later()
                others, children[:] = children[:], []  # the list by which Lightning would kill this process for theirs
                faulthandler.dump_traceback(stack)
                stack.flush()
                if _first(marker):
                    silent = {other for other in range(world) if now - news.get(other, moved) > patience / 2}
                    time.sleep(4 * interval)  # for the other stacks
                    print(f"error: {self._verdict(seen, silent, now - moved)}", file=sys.stderr, flush=True)
                    _end_step()
                _end(others, 3 * interval)
        faulthandler.cancel_dump_traceback_later()
        (self.folder / f"{rank}.stack").unlink(missing_ok=True)

    def _say(self, beat: Heartbeat) -> None:
        file = self.folder / f"{beat.rank}.json"
        with suppress(OSError), atomic_write(file) as part:  # a full disk is reported where a write is needed
            part.write_text(json.dumps(asdict(beat)))

    def _verdict(self, seen: Mapping[int, Heartbeat], silent: set[int], seconds: float) -> str:
        named = sorted(silent & seen.keys())
        blamed = [
            f"process {rank} ({seen[rank].host}, pid {seen[rank].pid}) has ended or is stuck: nothing is heard of it since "
            f"step {seen[rank].step + 1}, {seen[rank].doing}"
            for rank in named
        ]
        if not blamed:  # all talk
            late = stragglers(seen.values())
            named = [beat.rank for beat in late]
            blamed = [
                f"process {beat.rank} ({beat.host}, pid {beat.pid}) is behind, in step {beat.step + 1}, {beat.doing}"
                for beat in late
            ]
        files = [file for rank in named[:4] if (file := self.folder / f"{rank}.stack").is_file() and file.stat().st_size]
        where = f" (stack: {', '.join(map(str, files))})" if files else ""
        rest = f"goes on from {self.last}" if self.last.is_file() else "starts anew"
        return (
            f"no progress for {seconds:.0f} s: {'; '.join(blamed)}{where}. All processes end; the same command {rest}. "
            "--watchdog_timeout SECONDS sets the limit, 0 none"
        )


def stragglers(beats: Iterable[Heartbeat]) -> list[Heartbeat]:
    """Those that the others wait for: of the processes in the earliest step, the ones that do not wait themselves."""
    beats = sorted(beats, key=lambda beat: beat.rank)
    earliest = [beat for beat in beats if beat.step == min(beat.step for beat in beats)]
    return [beat for beat in earliest if not beat.waiting] or earliest


def _own(rank: int, step: int, progress: int, beat: int) -> Heartbeat:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    doing, waiting = activity(frame)
    return Heartbeat(rank, socket.gethostname(), os.getpid(), step, doing, waiting, progress, beat)


def activity(frame: FrameType | None) -> tuple[str, bool]:
    """What the thread with this innermost frame does, in words, and whether it waits for other processes."""
    frames = []
    while frame is not None:
        frames.append((frame.f_code.co_filename.replace(os.sep, "/"), frame.f_code.co_name))
        frame = frame.f_back
    waiting = any("torch/distributed/" in file or name == "_engine_run_backward" for file, name in frames[:8])
    waiting |= frames[:1] != [] and frames[0][0].endswith("torch/nn/parallel/distributed.py")
    by_name = (_DOING[name] for _, name in frames if name in _DOING)
    by_file = (doing for file, _ in frames for end, doing in _FILES.items() if file.endswith(end))
    return next(by_name, None) or next(by_file, "between two batches"), waiting


def _read(folder: Path, ranks: Iterable[int]) -> Iterator[tuple[int, Heartbeat]]:
    for rank in ranks:
        with suppress(OSError, ValueError, TypeError):
            yield rank, Heartbeat(**json.loads((folder / f"{rank}.json").read_text()))


def _first(marker: Path) -> bool:
    """Whether this process is the first to find that the run hangs."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def _end_step(environment: Mapping[str, str] = os.environ) -> None:
    """Have SLURM end all processes that srun started: it waits for those that cannot end themselves."""
    job, step = environment.get("SLURM_JOB_ID"), environment.get("SLURM_STEP_ID")
    if job is not None and step is not None:
        with suppress(OSError):
            subprocess.Popen(["scancel", "--signal=KILL", f"{job}.{step}"], stdin=subprocess.DEVNULL, start_new_session=True)


def _end(children: list[Any], patience: float) -> None:
    """End this process without asking the main thread, which hangs, and those that Lightning started beside it."""
    for child in children:
        if isinstance(child, subprocess.Popen):
            with suppress(subprocess.TimeoutExpired):
                child.wait(patience)
            with suppress(OSError):
                child.send_signal(signal.SIGKILL)
    sys.stdout.flush()
    os._exit(STATUS)
