"""The folder of a run: where it lies, whose it is, and whether there is something to go on from."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import yaml

from lit_inpaint.types import UserError

Resume = Literal["auto", "must", "never"]
_FREE_TO_CHANGE = ("data.init_args.root", "data.init_args.workers", "data.init_args.cache", "data.init_args.on_bad_file")


class RunFolder:
    """One run on disk: `config.yaml`, `metrics.csv`, `samples/`, `checkpoints/`, `wandb/`.

    Args:
        path: the folder; made when the run is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.table = path / "table.json"
        self._finished = path / ".finished"
        self._lock: IO[str] | None = None

    @property
    def finished_steps(self) -> int | None:
        """Batches after which the run was complete, None while it is not."""
        return int(self._finished.read_text()) if self._finished.is_file() else None

    def finish(self, steps: int) -> None:
        """Note that the run is complete."""
        self._finished.write_text(f"{steps}\n")

    def open(self, config: str) -> None:
        """Take the folder for this process and write its configuration.

        Raises:
            UserError: the folder cannot be written, or another process trains in it.
        """
        self.lock()
        try:
            part = self.path / ".config.yaml.part"
            part.write_text(config)
            part.replace(self.config)
            self._finished.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def lock(self) -> None:
        """Take the folder; it is free again when the process ends, however it ends.

        Raises:
            UserError: as `open`.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UserError(f"another process is training in {self.path}; wait for it or name another --run_dir") from None
        self._lock = file

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def differences(self, config: dict[str, Any]) -> list[str]:
        """Keys of model, data and seed in which `config` differs from what this run was started with, as `key: then -> now`."""
        then = yaml.safe_load(self.config.read_text()) if self.config.is_file() else config
        sections = ("model", "data", "seed", "ema")
        before = dict(_flat({key: then.get(key) for key in sections}))
        now = dict(_flat({key: config.get(key) for key in sections}))
        keys = [key for key in {**before, **now} if key not in _FREE_TO_CHANGE and before.get(key) != now.get(key)]
        return [f"{key}: {before.get(key)} -> {now.get(key)}" for key in keys]


def choose_run(experiment: str, run_dir: str | None, resume: Resume, config: dict[str, Any]) -> tuple[RunFolder, bool]:
    """Where this run goes, and whether it goes on from a checkpoint there.

    A folder named by `run_dir` is used as it is. Otherwise `auto` and `must` look for the newest run of the experiment that stopped
    before its end and was started with this very configuration, and `auto` begins a new one where there is none.

    Raises:
        UserError: `must` finds nothing to go on from, `never` would overwrite a run, or the run there was started otherwise.
    """
    if run_dir is not None:
        run = RunFolder(Path(run_dir))
        if resume == "never" and (run.config.exists() or run.last.exists()):
            raise UserError(f"{run.path} already holds a run; name another --run_dir, or --resume auto to go on with it")
        if resume == "must" and not run.last.is_file():
            raise UserError(f"--resume must: there is no {run.last} to go on from")
        if different := run.differences(config):
            raise UserError(
                f"the run in {run.path} was started with other settings ({'; '.join(different[:3])}"
                f"{' …' if len(different) > 3 else ''}); name another --run_dir, or repeat the old settings"
            )
        return run, run.last.is_file()
    below = Path("runs") / experiment
    if resume != "never" and below.is_dir():
        for path in sorted((path for path in below.iterdir() if path.is_dir()), reverse=True):
            run = RunFolder(path)
            if run.last.is_file() and run.finished_steps is None and yaml.safe_load(run.config.read_text()) == config:
                return run, True
    if resume == "must":
        raise UserError(f"--resume must: {below} holds no unfinished run with these settings; --run_dir names one by hand")
    return RunFolder(_new_path(below)), False


def _new_path(below: Path) -> Path:
    """A folder named after the moment, unless the processes of one job agree on a name in the environment."""
    shared = os.environ.get("SLURM_JOB_ID") or os.environ.get("TORCHELASTIC_RUN_ID", "none").replace("none", "")
    if shared and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return below / shared
    name = time.strftime("%Y%m%d-%H%M%S")
    path, number = below / name, 1
    while path.exists():
        number += 1
        path = below / f"{name}-{number}"
    return path


def _flat(config: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(config, dict):
        for name, value in config.items():
            yield from _flat(value, f"{key}.{name}" if key else name)
    else:
        yield key, config


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write the run folder {path} ({error.strerror}); name another --run_dir")
