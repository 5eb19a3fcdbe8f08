"""The run directory on disk: its files, its lock, and its stored configuration."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lit_inpaint.errors import UserError
from lit_inpaint.storage.atomic_write import atomic_write
from lit_inpaint.storage.file_lock import lock_file
from lit_inpaint.storage.plain_data import read_yaml

_LIMITS = ("max_steps", "max_epochs", "max_time")
_LOGGING_KEYS = (
    "wandb",
    "tensorboard",
    "num_samples",
    "sample_every",
    "checkpoint_every",
    "baselines",
    "protocol",
    "trainer.log_every_n_steps",
)
_KEYS_FREE_TO_CHANGE = (
    "data.init_args.root",
    "data.init_args.workers",
    "data.init_args.cache",
    "data.init_args.on_bad_file",
    "model.init_args.training.compile",
)


class RunDir:
    """The files of one run.

    Args:
        path: the directory; `lock` creates it.

    Attributes:
        config: `config.yaml`, the complete configuration.
        metrics: `metrics.csv`, every logged number.
        samples: `samples/`, grids of validation images.
        checkpoints: `checkpoints/`.
        last: `checkpoints/last.ckpt`, the checkpoint to resume from.
        final_evaluation: `final_evaluation.json`, written when the run is complete.
        splits: `splits.json`, number and digest of the images of each split at the run's start.
        manifest: `val_manifest.csv`, the samples of the final evaluation.
        launches: `launches.yaml`, one entry for each launch.
        ranks: `ranks/`, the watchdog's files.
        nan: `nan/`, batches with a loss or gradient that is not finite.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.final_evaluation = path / "final_evaluation.json"
        self.splits = path / "splits.json"
        self.manifest = path / "val_manifest.csv"
        self.launches = path / "launches.yaml"
        self.ranks = path / "ranks"
        self.nan = path / "nan"
        self._finished = path / ".finished"
        self._lock: IO[str] | None = None
        self._was_empty = False
        self._created: list[Path] = []

    @property
    def finished_steps(self) -> int | None:
        """Number of batches of a complete run, None while it is not complete."""
        return int(self._finished.read_text()) if self._finished.is_file() else None

    def finish(self, steps: int) -> None:
        """Mark the run as complete."""
        self._finished.write_text(f"{steps}\n")

    def complete(self, trainer: Mapping[str, Any]) -> bool:
        """Return whether the run is complete and the limits in the Trainer's arguments `trainer` request no more steps."""
        if self.finished_steps is None:
            return False
        stored = (self.stored() or {}).get("trainer", {})
        return 0 <= trainer["max_steps"] <= self.finished_steps or all(stored.get(key) == trainer[key] for key in _LIMITS)

    def stored(self) -> dict[str, Any] | None:
        """Read the configuration that the run was started with, None where there is none.

        Raises:
            UserError: the file cannot be read.
        """
        if not self.config.is_file():
            return None
        try:
            config = read_yaml(self.config)
        except UserError as error:
            raise UserError(f"{error}; name another --run_dir") from None
        return config if isinstance(config, dict) else None

    def open(self, config: str) -> None:
        """Lock the directory and write the run's configuration.

        Raises:
            UserError: the directory cannot be written, or another process trains in it.
        """
        self.lock()
        try:
            with atomic_write(self.config) as part:
                part.write_text(config, encoding="utf-8")
            self._finished.unlink(missing_ok=True)
        except OSError as error:
            raise _not_writable(self.path, error) from error

    def create(self) -> bool:
        """Create the directory and lock it; return False where it exists, such as that of another run of the same second.

        Raises:
            UserError: as `open`.
        """
        created = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(self.path, error) from error
        try:
            self.path.mkdir()
        except FileExistsError:
            return False
        except OSError as error:
            raise _not_writable(self.path, error) from error
        self.lock()
        self._created = created
        return True

    def lock(self) -> None:
        """Create the directory and lock it; the lock ends with the process, however that ends.

        Raises:
            UserError: as `open`.
        """
        if self._lock is not None:
            return
        try:
            created = [path for path in (self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            was_empty = not any(self.path.iterdir())
            file = (self.path / ".lock").open("a")
        except OSError as error:
            raise _not_writable(self.path, error) from error
        try:
            locked = lock_file(file)
        except BlockingIOError:
            file.close()
            raise UserError(f"another process is training in {self.path}; wait for it or name another --run_dir") from None
        except OSError as error:
            raise _not_writable(self.path, error) from error
        if not locked:
            warnings.warn(  # Lustre and some NFS mounts
                f"the file system of {self.path} has no locks: a second process that trains there would not be detected",
                UserWarning,
                stacklevel=2,
            )
        self._lock, self._was_empty, self._created = file, was_empty, created

    def try_lock(self) -> bool:
        """Lock the directory, or return False where another process trains in it."""
        try:
            self.lock()
        except UserError:
            return False
        return True

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard(self) -> None:
        """Release the lock; if the directory was empty before and holds no result, delete all that `lock` created."""
        self.unlock()
        if not self._was_empty or any(path.exists() for path in (self.last, self.metrics, self.nan)):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path not in self._created:
            self.path.mkdir()
        for parent in self._created[1:]:
            with suppress(OSError):  # another run may have been created there
                parent.rmdir()

    def of_trial(self) -> bool:
        """Return whether this process may resume the run: under `wandb agent` only the trial that started it may."""
        if "WANDB_SWEEP_ID" not in os.environ:
            return True
        file = self.path / "wandb" / "run_id.txt"
        return not file.is_file() or file.read_text().strip() == os.environ.get("WANDB_RUN_ID")

    def matches(self, config: dict[str, Any]) -> bool:
        """Return whether the run was started with these settings, except those of logging and saving.

        Settings of the trainer, or at the top level, that only one of the two has are ignored: it is another version's.
        """
        stored = self.stored()
        if stored is None:
            return False
        before, now = ({**one, **_prefixed(one.get("trainer"))} for one in (stored, config))
        keys = before.keys() & now.keys() - {"trainer"} - set(_LOGGING_KEYS)
        return all(before[key] == now[key] for key in keys)

    def differences(self, config: dict[str, Any]) -> list[str]:
        """List the settings that determine the weights and differ from the stored ones, as `key: stored -> new`."""
        stored = self.stored() or config
        sections = ("model", "data", "seed", "ema", "tf32", "init_from")
        before = dict(_flatten({key: stored.get(key, config.get(key)) for key in sections}))
        now = dict(_flatten({key: config.get(key) for key in sections}))
        keys = [key for key in {**before, **now} if key not in _KEYS_FREE_TO_CHANGE and before.get(key) != now.get(key)]
        return [f"{key}: {_shorten(before.get(key))} -> {_shorten(now.get(key))}" for key in keys]


def _prefixed(trainer: object) -> dict[str, object]:
    return {f"trainer.{key}": value for key, value in trainer.items()} if isinstance(trainer, dict) else {}


def _flatten(config: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(config, dict):
        for name, value in config.items():
            yield from _flatten(value, f"{key}.{name}" if key else name)
    else:
        yield key, config


def _shorten(value: object) -> str:
    """Format a value for one line; a path stays whole, a list of stages does not."""
    text = str(value)
    return text if isinstance(value, str) or len(text) <= 60 else f"{text[:57]}..."


def _not_writable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write the run directory {path} ({error.strerror}); name another --run_dir")
