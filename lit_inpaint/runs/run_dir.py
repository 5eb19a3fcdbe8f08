"""The folder of a run: where it lies, whose it is, and whether there is something to go on from."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal

import yaml

from lit_inpaint.cluster.slurm_job import SlurmJob
from lit_inpaint.errors import UserError
from lit_inpaint.storage.atomic_write import atomic_write
from lit_inpaint.storage.file_lock import lock_file

Resume = Literal["auto", "must", "never"]
_LIMITS = ("max_steps", "max_epochs", "max_time")
_OF_LOGGING = (
    "wandb",
    "tensorboard",
    "num_samples",
    "sample_every",
    "checkpoint_every",
    "baselines",
    "trainer.log_every_n_steps",
)
_FREE_TO_CHANGE = ("data.init_args.root", "data.init_args.workers", "data.init_args.cache", "data.init_args.on_bad_file")


class RunDir:
    """One run on disk: `config.yaml`, `metrics.csv`, `samples/`, `checkpoints/`, `table.json`, `val_manifest.csv`, `wandb/`.

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
        self.manifest = path / "val_manifest.csv"
        self.nan = path / "nan"
        self.ranks = path / "ranks"
        self.machines = path / "machines.yaml"
        self._finished = path / ".finished"
        self._lock: IO[str] | None = None
        self._fresh = False
        self._made: list[Path] = []

    @property
    def finished_steps(self) -> int | None:
        """Batches after which the run was complete, None while it is not."""
        return int(self._finished.read_text()) if self._finished.is_file() else None

    def finish(self, steps: int) -> None:
        """Note that the run is complete."""
        self._finished.write_text(f"{steps}\n")

    def complete(self, trainer: Mapping[str, Any]) -> bool:
        """Whether the run came to its end, and the limits in `trainer` ask for no more than that."""
        if self.finished_steps is None:
            return False
        then = (self.stored() or {}).get("trainer", {})
        return 0 <= trainer["max_steps"] <= self.finished_steps or all(then.get(key) == trainer[key] for key in _LIMITS)

    def stored(self) -> dict[str, Any] | None:
        """The configuration that the run was started with, None where there is none.

        Raises:
            UserError: it is not readable.
        """
        if not self.config.is_file():
            return None
        try:
            config = yaml.safe_load(self.config.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"cannot read {self.config} ({error}); name another --run_dir") from None
        return config if isinstance(config, dict) else None

    def open(self, config: str) -> None:
        """Take the folder for this process and write its configuration.

        Raises:
            UserError: the folder cannot be written, or another process trains in it.
        """
        self.lock()
        try:
            with atomic_write(self.config) as part:
                part.write_text(config)
            self._finished.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def lock(self) -> None:
        """Take the folder; it is free again when the process ends, however it ends.

        Raises:
            UserError: as `open`.
        """
        if self._lock is not None:
            return
        try:
            made = [path for path in (self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            fresh = not any(self.path.iterdir())
            file = (self.path / ".lock").open("a")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            locked = lock_file(file)
        except BlockingIOError:
            file.close()
            raise UserError(f"another process is training in {self.path}; wait for it or name another --run_dir") from None
        except OSError as error:
            raise _unwritable(self.path, error) from error
        if not locked:
            warnings.warn(  # Lustre and some NFS mounts
                f"the file system of {self.path} has no locks: a second process that trains there would not be noticed",
                UserWarning,
                stacklevel=2,
            )
        self._lock, self._fresh, self._made = file, fresh, made

    def free(self) -> bool:
        """Take the folder, unless another process trains in it."""
        try:
            self.lock()
        except UserError:
            return False
        return True

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard(self) -> None:
        """Give the folder back; if it was new and no result came into it, take away all that `lock` made."""
        self.unlock()
        if not self._fresh or any(path.exists() for path in (self.last, self.metrics, self.nan)):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path not in self._made:
            self.path.mkdir()
        for parent in self._made[1:]:
            with suppress(OSError):  # another run may have been put there
                parent.rmdir()

    def of_trial(self) -> bool:
        """Whether the run may be gone on with here: under `wandb agent` only by the trial that began it, as W&B sees to."""
        if "WANDB_SWEEP_ID" not in os.environ:
            return True
        file = self.path / "wandb" / "run_id.txt"
        return not file.is_file() or file.read_text().strip() == os.environ.get("WANDB_RUN_ID")

    def matches(self, config: dict[str, Any]) -> bool:
        """Whether the run was started with these settings; how it is logged and saved does not count.

        Nor do settings of the trainer, or at the top, that one of the two does not know: another version of this package.
        """
        then = self.stored()
        if then is None:
            return False
        before, now = ({**one, **_prefixed(one.get("trainer"))} for one in (then, config))
        keys = before.keys() & now.keys() - {"trainer"} - set(_OF_LOGGING)
        return all(before[key] == now[key] for key in keys)

    def differences(self, config: dict[str, Any]) -> list[str]:
        """What determines the weights and is not in `config` as it was when this run was started, as `key: then -> now`."""
        then = self.stored() or config
        sections = ("model", "data", "seed", "ema", "init_from")
        before = dict(_flat({key: then.get(key) for key in sections}))
        now = dict(_flat({key: config.get(key) for key in sections}))
        keys = [key for key in {**before, **now} if key not in _FREE_TO_CHANGE and before.get(key) != now.get(key)]
        return [f"{key}: {_short(before.get(key))} -> {_short(now.get(key))}" for key in keys]


def choose_run(
    experiment: str,
    run_dir: str | None,
    resume: Resume,
    config: dict[str, Any],
    first: bool = True,
    job: SlurmJob | None = None,
) -> tuple[RunDir, bool]:
    """Where this run goes, and whether it goes on from a checkpoint there.

    A folder named by `run_dir` is used as it is. Otherwise a SLURM job that was requeued goes on in its own folder, whatever
    `resume` says, since it is still the same run. Else `auto` and `must` look for the newest run of the experiment that
    stopped before its end, was started with this very configuration and is not being trained by another process; `auto`
    begins a new one where there is none. A new folder has the name of the job, or of the moment.

    Args:
        experiment: names the folder below `runs/`.
        run_dir: the folder, if the user or the first process of the run named one.
        resume: whether to go on from a checkpoint.
        config: the complete configuration.
        first: False in the other processes of a run, for which the first one takes the folder.
        job: of SLURM, that this process belongs to.

    Raises:
        UserError: `must` finds nothing to go on from, `never` would overwrite a run, or the run there was started otherwise.
    """
    again = job is not None and job.restarts > 0
    if run_dir is not None:
        run = RunDir(Path(run_dir))
        if resume == "never" and first and not again and (run.config.exists() or run.last.exists()):
            raise UserError(f"{run.path} already holds a run; name another --run_dir, or --resume auto to go on with it")
        if resume == "must" and not run.last.is_file():
            raise UserError(f"--resume must: there is no {run.last} to go on from")
        if run.last.is_file() and not run.of_trial():
            raise UserError(f"the run in {run.path} is another trial's of the sweep; leave --run_dir out for one of its own")
        if different := run.differences(config):
            raise UserError(
                f"the run in {run.path} was started with other settings ({'; '.join(different[:3])}"
                f"{' …' if len(different) > 3 else ''}); name another --run_dir, or repeat the old settings"
            )
        return run, (resume != "never" or again) and run.last.is_file()
    below = Path("runs") / experiment
    there = [RunDir(path) for path in below.iterdir() if path.is_dir()] if below.is_dir() else []
    if job is not None and again:
        own = [run for run in there if _is_of(job, run.path.name) and run.matches(config)]
        for run in own:
            if run.free():
                return run, run.last.is_file()
        if own:
            own[0].lock()  # which says who has it
    if resume != "never":
        for run in sorted((run for run in there if run.last.is_file()), key=_last_save, reverse=True):
            if run.finished_steps is None and run.matches(config) and run.of_trial() and run.free():
                return run, True
    if resume == "must":
        raise UserError(f"--resume must: {below} holds no unfinished run with these settings; --run_dir names one by hand")
    return RunDir(_new_path(below, job.name if job is not None else time.strftime("%Y%m%d-%H%M%S"))), False


def _prefixed(trainer: object) -> dict[str, object]:
    return {f"trainer.{key}": value for key, value in trainer.items()} if isinstance(trainer, dict) else {}


def _is_of(job: SlurmJob, name: str) -> bool:
    """Whether a folder was made by a start of `job`; several steps of one number their folders."""
    return name == job.name or (name.startswith(f"{job.name}-") and name[len(job.name) + 1 :].isdigit())


def _last_save(run: RunDir) -> tuple[int, str]:
    return run.last.stat().st_mtime_ns, run.path.name


def _new_path(below: Path, name: str) -> Path:
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


def _short(value: object) -> str:
    """A list of stages, say, is not for one line; a path is."""
    text = str(value)
    return text if isinstance(value, str) or len(text) <= 60 else f"{text[:57]}..."


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write the run folder {path} ({error.strerror}); name another --run_dir")
